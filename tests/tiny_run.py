"""A whole training run in a second: a real model of a few hundred weights on an endless made-up text.

The text is a function of (seed, step), as real data must be; documents break it, so packed rows, masks
and unequal token counts are there too.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn

from deepseek_lab.callbacks.checkpointing import Checkpointing
from deepseek_lab.callbacks.expert_load import ExpertLoad
from deepseek_lab.callbacks.throughput import Throughput
from deepseek_lab.model.attention.grouped import GroupedAttention
from deepseek_lab.model.ffn.dense import DenseFeedForward
from deepseek_lab.model.ffn.moe import MixtureOfExperts
from deepseek_lab.model.mtp import MultiTokenPrediction
from deepseek_lab.model.rope import RopeConfig
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.objectives.balance import Balance
from deepseek_lab.stages.pretrain import PretrainStage
from deepseek_lab.trainer_plugins.checkpoint_io import AtomicCheckpointIO
from deepseek_lab.trainer_plugins.json_lines import JsonLinesLogger
from deepseek_lab.trainer_plugins.tensorboard import TensorBoardCurves

VOCABULARY = 16


@dataclass(frozen=True)
class Micro:
    """Packed rows and the document of each token."""

    tokens_BT1: Tensor
    document_BT1: Tensor

    def to(self, device: torch.device) -> "Micro":
        return Micro(self.tokens_BT1.to(device), self.document_BT1.to(device))


class TinyData:
    """Each row counts up by a stride of its own; documents have random lengths."""

    def __init__(self, seed: int = 1, batch_size: int = 4, micro_batch_size: int = 2, seq_len: int = 12) -> None:
        self.seed, self.batch_size, self.micro_batch_size, self.seq_len = seed, batch_size, micro_batch_size, seq_len
        self.manifest = {"hash": f"tiny-{seed}"}
        self.token_bytes_V = np.arange(VOCABULARY) % 3 + 1

    def _rows(self, key: int, batch_size: int) -> Micro:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + key)
        start = torch.randint(VOCABULARY, (batch_size, 1), generator=generator)
        stride = torch.randint(1, 4, (batch_size, 1), generator=generator)
        tokens = (start + stride * torch.arange(self.seq_len + 1)) % VOCABULARY
        breaks = torch.rand(batch_size, self.seq_len + 1, generator=generator) < 0.2
        return Micro(tokens, breaks.cumsum(1))

    def step_batch(self, k: int, rank: int = 0, world_size: int = 1) -> Sequence[Micro]:
        whole = self._rows(k, self.batch_size)
        size = self.micro_batch_size
        starts = range(rank * size, self.batch_size, size * world_size)
        return [Micro(whole.tokens_BT1[i : i + size], whole.document_BT1[i : i + size]) for i in starts]

    def validation_batches(self, limit: int | None, rank: int = 0, world_size: int = 1) -> Iterator[Micro]:
        for i in range(rank, limit or 3, world_size):
            yield self._rows(-1 - i, self.micro_batch_size)


@dataclass(frozen=True)
class TinyAdamW:
    lr: float = 3e-3
    max_grad_norm: float | None = 1.0

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters(), lr=self.lr, betas=(0.9, 0.95), weight_decay=0.1, fused=True)


@dataclass(frozen=True)
class Warmup:
    steps: int = 5

    def factor(self, step: int, max_steps: int) -> float:
        return min(1.0, (step + 1) / self.steps) * (1 - 0.5 * step / max_steps)


NO_BALANCE = Balance(
    bias_update_speed=0.0,
    bias_update_until=1.0,
    sequence_wise_alpha=0.0,
    batch_wise_alpha=0.0,
    expert_alpha=0.0,
    device_alpha=0.0,
    communication_alpha=0.0,
    n_devices=1,
    n_limited_devices=1,
)
V3_BALANCE = dataclasses.replace(NO_BALANCE, bias_update_speed=0.01, sequence_wise_alpha=1e-3)


def tiny_config(moe: bool = True, depth: int = 1) -> Transformer.Config:
    ffn: Any = DenseFeedForward.Config(intermediate_size=16)
    if moe:
        ffn = MixtureOfExperts.Config(
            n_routed_experts=4,
            n_activated_experts=2,
            moe_intermediate_size=8,
            n_shared_experts=1,
            n_dense_layers=1,
            intermediate_size=16,
        )
    return Transformer.Config(
        dim=16,
        n_layers=2,
        vocab_size=VOCABULARY,
        max_seq_len=64,
        init_std=0.05,
        rope=RopeConfig(),
        attention=GroupedAttention.Config(n_heads=2, n_kv_heads=1),
        ffn=ffn,
        mtp=MultiTokenPrediction.Config(depth=depth),
    )


def tiny_stage(
    moe: bool = True,
    depth: int = 1,
    data: Any = None,
    seed: int = 1,
    isolate_documents: bool = True,
    balance: Balance = V3_BALANCE,
    optimizer: Any = None,
    config: Transformer.Config | None = None,
    validation_batches: int = 2,
    precision: Any = None,
    **knobs: Any,
) -> PretrainStage:
    torch.manual_seed(seed)
    return PretrainStage.Config(**knobs).build(
        (config or tiny_config(moe, depth)).build(),
        data or TinyData(seed),
        balance,
        isolate_documents=isolate_documents,
        optimizer=optimizer or TinyAdamW(),
        schedule=Warmup(),
        seed=seed,
        validation_batches=validation_batches,
        precision=precision,
    )


def tiny_trainer(
    folder: Path,
    max_steps: int = 20,
    resume_step: int | None = None,
    every: int = 7,
    validate_every: int = 5,
    log_every: int = 3,
    callbacks: Sequence[Callback] = (),
    cluster: Any = None,
    **settings: Any,
) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_steps=max_steps,
        check_val_every_n_epoch=None,
        val_check_interval=validate_every,
        log_every_n_steps=log_every,
        num_sanity_val_steps=0,
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        logger=[JsonLinesLogger(folder, resume_step), TensorBoardCurves(folder, resume_step)],
        callbacks=[ExpertLoad(), Throughput(), *callbacks, Checkpointing(folder, every=every, keep=100)],
        plugins=[AtomicCheckpointIO(), *([cluster] if cluster else [])],
        default_root_dir=folder,
        **{"devices": 1, **settings},
    )


def rows(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("perf/")} for line in lines]
