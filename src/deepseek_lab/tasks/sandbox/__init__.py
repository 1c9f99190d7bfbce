"""Runs programs that a network wrote, where they can harm nothing: see `runner.Sandbox`.

Empty on purpose: what runs inside imports this package, and starts as often as there are programs.
"""
