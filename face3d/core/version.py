"""The version, in the one place that every package may import."""

__version__ = "0.1.0"
