"""Hugging Face folders, both ways: see `loading` and `saving`; `families` says which models."""

from deepseek_lab.checkpoint.huggingface.loading import load_pretrained
from deepseek_lab.checkpoint.huggingface.saving import save_pretrained

__all__ = ["load_pretrained", "save_pretrained"]
