"""A run folder that can be talked to: a real model of a few thousand weights, random, over bytes."""

import dataclasses
from pathlib import Path

import torch

from deepseek_lab.checkpoint.native import describe
from deepseek_lab.text.tokenizer import Bytes
from tiny_run import tiny_config

TOKENIZER = Bytes.Config().build()
CONTEXT = 256


def talking_run(folder: Path, seed: int = 1, template: str | None = None) -> Path:
    """Writes the folder; its model babbles bytes, now and then a control token."""
    (folder / "checkpoints").mkdir(parents=True)
    torch.manual_seed(seed)
    config = dataclasses.replace(tiny_config(), vocab_size=TOKENIZER.vocab_size, max_seq_len=CONTEXT, init_std=0.3)
    weights = {f"model.{name}": tensor for name, tensor in config.build().state_dict().items()}
    content = {"state_dict": weights, "model_config": describe(config), "run": {"data": "none"}}
    torch.save(content, folder / "checkpoints" / "step_00000001.ckpt")
    TOKENIZER.save(folder / "tokenizer.json")
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder
