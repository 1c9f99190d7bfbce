"""Checkpoints on disk: our own format with its config, random state, atomic files; Hugging Face folders."""

from deepseek_lab.checkpoint.huggingface import load_pretrained, save_pretrained
from deepseek_lab.checkpoint.native import (
    describe,
    latest_checkpoint,
    load_model,
    load_value_model,
    read_checkpoint,
    rebuild,
)

__all__ = [
    "describe",
    "latest_checkpoint",
    "load_model",
    "load_pretrained",
    "load_value_model",
    "read_checkpoint",
    "rebuild",
    "save_pretrained",
]
