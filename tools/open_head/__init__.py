"""Building the open head from CC0 data."""
