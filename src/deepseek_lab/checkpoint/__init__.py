"""Checkpoints on disk: our own format with its config, random state, atomic files."""

from deepseek_lab.checkpoint.native import (
    describe,
    latest_checkpoint,
    load_model,
    load_value_model,
    read_checkpoint,
    rebuild,
)

__all__ = ["describe", "latest_checkpoint", "load_model", "load_value_model", "read_checkpoint", "rebuild"]
