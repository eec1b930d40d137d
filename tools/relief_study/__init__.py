"""Synthetic patches of skin with known relief, for the network that tells it from colour."""
