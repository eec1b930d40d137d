"""Synthetic data, losses and training loops; needs the extra "train" for the loops."""
