"""Curves and files that a run writes beside its loss: one small callback a file."""
