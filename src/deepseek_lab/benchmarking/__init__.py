"""Measurements against other people's code, side by side in one process."""
