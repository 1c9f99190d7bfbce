"""Lightning's own counters at "step s is finished, validation and all".

Lightning saves the counters of the very moment of a save: inside `on_train_batch_end` the batch is not
yet counted as completed, inside `on_validation_end` a validation is still running. Its restart code then
guesses what was left to do, and may repeat a validation or miscount a step. Our checkpoints stand only
on finished steps, so the counters are written as they are between two steps, whatever hook saved them.
Read with `training_epoch_loop.update_restart_stage` (lightning 2.6): these numbers are its
RESTARTED_ON_LAST inside RESTARTED_MID_EPOCH, which goes on with batch s and skips a validation due at s.
"""

from typing import Any


def _tracker(count: int, *names: str) -> dict[str, dict[str, int]]:
    counts = dict.fromkeys(names, count)
    return {"total": dict(counts), "current": dict(counts)}


def finished_step(step: int) -> dict[str, Any]:
    """The `loops` entry of a Lightning checkpoint after `step` finished optimiser steps (manual optimisation)."""
    batches = {**_tracker(step, "ready", "started", "processed", "completed"), "is_last_batch": False}
    in_epoch = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    fit_loop = {
        "state_dict": {},
        "epoch_progress": {"total": dict(in_epoch), "current": dict(in_epoch)},
        "epoch_loop.state_dict": {"_batches_that_stepped": step},
        "epoch_loop.batch_progress": batches,
        "epoch_loop.manual_optimization.state_dict": {},
        "epoch_loop.manual_optimization.optim_step_progress": _tracker(step, "ready", "completed"),
    }
    return {"fit_loop": fit_loop, "validate_loop": {}, "test_loop": {}, "predict_loop": {}}
