"""Where Hydra's configuration becomes objects and a run: the only code that knows both sides.

`check` and `train` are what scripts/train.py calls; `evaluate` and `generate` read a finished run.
The heavy modules are imported when one of them is called, so that a mistyped option answers at once.
"""
