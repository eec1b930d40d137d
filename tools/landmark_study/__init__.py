"""Studying the landmark detector on renders of the open head."""
