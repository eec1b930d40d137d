"""The command line."""

from face3d.cli.main import main as main
