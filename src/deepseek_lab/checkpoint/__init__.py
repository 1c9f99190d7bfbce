"""Checkpoints on disk: our own format with its config, random state, atomic files; Hugging Face folders; GGUF files.

`load_pretrained` and `save_pretrained` are imported with torch when they are first named: who only asks where a
checkpoint lies does not wait for it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepseek_lab.checkpoint.huggingface import load_pretrained, save_pretrained

__all__ = ["load_pretrained", "save_pretrained"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from deepseek_lab.checkpoint import huggingface

    return getattr(huggingface, name)
