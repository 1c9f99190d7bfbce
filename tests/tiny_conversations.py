"""Embedded instructions over bytes and a model of a few thousand weights that reads them."""

import dataclasses
from pathlib import Path
from typing import Any

import torch

from deepseek_lab.data.embedded_instructions import EmbeddedInstructions
from deepseek_lab.data.instruction import InstructionData
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.stages.sft import SftStage
from deepseek_lab.stages.sft_config import SftConfig
from deepseek_lab.text.tokenizer import SMALLEST_VOCABULARY, Bytes
from tiny_run import V3_BALANCE, TinyAdamW, Warmup, tiny_config

SEQ_LEN = 160


def tiny_conversations(cache: Path, **changed: Any) -> InstructionData:
    values = {
        "corpus": EmbeddedInstructions.Config(n_conversations=120, seed=0),
        "cache_dir": str(cache),
        "seq_len": SEQ_LEN,
        "batch_size": 8,
        "validation_share": 0.1,
        **changed,
    }
    return InstructionData.Config(**values).build(Bytes.Config(), SMALLEST_VOCABULARY, 1)


def reading_config(moe: bool = True, depth: int = 1) -> Transformer.Config:
    return dataclasses.replace(tiny_config(moe, depth), vocab_size=SMALLEST_VOCABULARY, max_seq_len=256)


def sft_stage(
    data: InstructionData, moe: bool = True, depth: int = 1, balance: Any = V3_BALANCE, **knobs: Any
) -> SftStage:
    torch.manual_seed(1)
    return SftConfig(**knobs).build(
        reading_config(moe, depth).build(),
        data,
        balance,
        isolate_documents=True,
        optimizer=TinyAdamW(lr=1e-2),
        schedule=Warmup(),
        seed=1,
        validation_batches=2,
    )
