"""What recomputing activations saves and costs: bytes kept for the backward pass, peak, time.

The same network, weights and tokens for every choice; a step is forward and backward without an optimiser,
whose state would hide the activations. The losses of all choices must be equal to the bit.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, get_args

import torch
from rich.table import Table
from torch import Tensor

from deepseek_lab.benchmarking.interleaved import time_interleaved
from deepseek_lab.benchmarking.live_memory import LiveMemory, resident_growth
from deepseek_lab.model.attention.latent import LatentAttention
from deepseek_lab.model.ffn.moe import MixtureOfExperts
from deepseek_lab.model.mtp import MultiTokenPrediction
from deepseek_lab.model.recompute import How, recompute
from deepseek_lab.model.rope import RopeConfig
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.objectives.next_token import chunked_cross_entropy

CHOICES: tuple[How, ...] = get_args(How)
SEQ_LEN = 512
VOCABULARY = 4096
SHAPES = {"mini_v3": (256, 6), "wide": (1024, 4)}
"""Width and layers: the project's mini_v3, and four times its width with every other size in proportion."""


def network(dim: int, n_layers: int, vocabulary: int = VOCABULARY, n_experts: int = 16) -> Transformer:
    """mini_v3's proportions at a width: a DeepSeek-V3 with groups and one dense layer, weights from seed 0."""
    unit = dim // 16
    mixture = MixtureOfExperts.Config(
        n_routed_experts=n_experts,
        n_activated_experts=4,
        n_expert_groups=4,
        n_limited_groups=2,
        moe_intermediate_size=8 * unit,
        n_shared_experts=1,
        n_dense_layers=1,
        intermediate_size=40 * unit,
    )
    latent = LatentAttention.Config(
        n_heads=8,
        q_lora_rank=6 * unit,
        kv_lora_rank=4 * unit,
        qk_nope_head_dim=2 * unit,
        qk_rope_head_dim=unit,
        v_head_dim=2 * unit,
    )
    torch.manual_seed(0)
    return Transformer.Config(
        dim=dim,
        n_layers=n_layers,
        vocab_size=vocabulary,
        rope=RopeConfig(),
        attention=latent,
        ffn=mixture,
        mtp=MultiTokenPrediction.Config(),
    ).build()


def loss_of(model: Transformer, tokens_BT1: Tensor) -> Tensor:
    """Mean next-token loss."""
    hidden_ND = model(tokens_BT1[:, :-1]).hidden_BTD.flatten(0, 1)
    share_N = torch.full((hidden_ND.shape[0],), 1 / hidden_ND.shape[0])
    return chunked_cross_entropy(hidden_ND, model.head_weight_VD, tokens_BT1[:, 1:].flatten(), share_N)[0]


def step(model: Transformer, tokens_BT1: Tensor) -> float:
    """Forward and backward; the gradients are let go."""
    loss = loss_of(model, tokens_BT1)
    loss.backward()
    model.zero_grad()
    return loss.item()


def memory(model: Transformer, tokens_BT1: Tensor) -> dict[str, int | None]:
    """Bytes of one step: kept between its two passes, the most at any time, and the growth of the process."""
    with LiveMemory([*model.parameters(), *model.buffers(), tokens_BT1]) as live:
        loss = loss_of(model, tokens_BT1)
        kept = live.now()
        loss.backward()
    model.zero_grad()
    return {"kept": kept, "peak": live.peak, "resident": resident_growth(partial(step, model, tokens_BT1))}


def measure(name: str, batch: int, rounds: int, report: Callable[[str], None]) -> dict[str, Any]:
    """The figures of one shape, ready for json. Raises AssertionError when two choices differ in their loss."""
    models = {how: network(*SHAPES[name]) for how in CHOICES}
    for how, model in models.items():
        recompute(model, how)

    def tokens_BT1(number: int) -> Tensor:
        generator = torch.Generator().manual_seed(number)
        return torch.randint(VOCABULARY, (batch, SEQ_LEN + 1), generator=generator)

    memories = {how: memory(model, tokens_BT1(0)) for how, model in models.items()}
    timings = time_interleaved({how: partial(step, model) for how, model in models.items()}, tokens_BT1, rounds, report)
    assert all(losses == timings.losses["none"] for losses in timings.losses.values()), "recomputation changed a loss"
    figures = {
        how: {
            **memories[how],
            "seconds": timings.seconds[how],
            "times_none": timings.ratios(how, "none"),
        }
        for how in models
    }
    return {"shape": name, "batch": batch, "seq_len": SEQ_LEN, "rounds": rounds, "choices": figures, **timings.machine}


def table(results: Sequence[dict[str, Any]]) -> Table:
    """One row a shape and choice."""
    made = Table(title="Recomputing activations: one step, forward and backward, fp32")
    for column in ("shape", "recompute"):
        made.add_column(column, no_wrap=True)
    for column in ("kept MB", "peak MB", "process MB", "time / none"):
        made.add_column(column, justify="right")
    for result in results:
        for how, figures in result["choices"].items():
            sizes = [f"{figures[key] / 1e6:,.0f}" if figures[key] else "-" for key in ("kept", "peak", "resident")]
            ratio = median(figures["times_none"])
            made.add_row(result["shape"], how, *sizes, f"{ratio:.2f}", end_section=how == CHOICES[-1])
    return made


def save(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes recompute.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recompute.json").write_text(json.dumps(list(results), indent=1))
