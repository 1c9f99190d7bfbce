"""One MLA layer decoding one token, by the length of its context: four ways over the same tokens and weights.

absorbed: reads the latents as they lie, as an engine's step does. expanded: rebuilds every head's keys and values from
them at each step, in our code. transformers: does the same in its own, where it is installed. full: keeps every head's
keys and values instead of the latents, a cache several times as large. Each takes the new token in: its latent is made
and kept, or its keys and values are.

Shapes: B rows, S tokens of context, H heads, K query and key width, V value width, C kv_lora_rank.
"""

import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from deepseek_lab.benchmarking.contestants import Workload, our_model
from deepseek_lab.benchmarking.interleaved import time_interleaved
from deepseek_lab.benchmarking.their_attention import their_attention_step, their_network_of
from deepseek_lab.generation.lean.latent import LeanLatent
from deepseek_lab.model.attention.interface import AttentionContext, attend
from deepseek_lab.model.attention.latent import LatentAttention
from deepseek_lab.model.linear import decoding
from deepseek_lab.model.prepared import Prepared
from deepseek_lab.model.rope import rotation_table

ABSORBED, EXPANDED, FULL, THEIRS = "absorbed", "expanded", "full", "transformers"
_LABELS = {
    THEIRS: "expanded, by transformers",
    EXPANDED: EXPANDED,
    FULL: "full keys and values",
    ABSORBED: ABSORBED,
}
_TOKENS_A_ROUND = 16384
"""Of context, read by each contestant before its time is taken: short contexts need several steps."""


def _ways(layer: LatentAttention, context: AttentionContext, x_B1D: Tensor, cache_BSX: Tensor) -> dict[str, Any]:
    prepared = Prepared(keeps=True, packs=True)
    lean = LeanLatent(layer, prepared)
    k_BHSK, v_BHSV = _keys_and_values(layer, cache_BSX)

    def absorbed() -> Tensor:
        with decoding(prepared):
            return lean(x_B1D.squeeze(1), context, cache_BSX).unsqueeze(1)

    def taken_in() -> Tensor:
        new_B1X = torch.cat(layer._latents(x_B1D, context), dim=-1)
        cache_BSX[:, context.start :] = new_B1X
        return new_B1X

    def source() -> Tensor:
        return layer.q_norm(layer.wq_a(x_B1D))  # type: ignore[no-any-return]

    def expanded() -> Tensor:
        taken_in()
        return layer._expanded(source(), context, *cache_BSX.split(_widths(layer), -1))

    def full() -> Tensor:
        k_BHSK[:, :, context.start :], v_BHSV[:, :, context.start :] = _keys_and_values(layer, taken_in())
        q_BHTK = layer._joined_queries(source(), context).transpose(1, 2)
        return layer.wo(attend(q_BHTK, k_BHSK, v_BHSV, None, layer.scale).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    return {ABSORBED: absorbed, EXPANDED: expanded, FULL: full}


def _widths(layer: LatentAttention) -> tuple[int, int]:
    return layer.config.kv_lora_rank, layer.config.qk_rope_head_dim


def _keys_and_values(layer: LatentAttention, stored_BSX: Tensor) -> tuple[Tensor, Tensor]:
    """(B, S, C + R) -> (B, H, S, K) and (B, H, S, V), contiguous."""
    latent_BSC, k_pe_BSR = stored_BSX.split(_widths(layer), -1)
    kv_BSHX = layer.wkv_b(latent_BSC).unflatten(-1, (layer.config.n_heads, -1))
    k_BHSK = layer._joined_keys(kv_BSHX, k_pe_BSR).transpose(1, 2).contiguous()
    return k_BHSK, kv_BSHX[..., layer.config.qk_nope_head_dim :].transpose(1, 2).contiguous()


def _repeated(call: Callable[[], Tensor], times: int) -> Callable[[Tensor], float]:
    def steps(tokens: Tensor) -> float:
        with torch.no_grad():
            return sum(float(call()[0, 0, 0]) for _ in range(times))

    return steps


def measure(name: str, rounds: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of a step each way, for `8x1024`: rows and context. Raises AssertionError where the results differ."""
    batch, n_keys = map(int, name.split("x"))
    workload = Workload("attention", batch=batch, seq_len=1, n_experts=16)
    torch.manual_seed(0)
    model = our_model(workload)
    theirs = their_network_of(workload, model) if find_spec("transformers") else None
    layer = model.blocks[0].attention
    assert isinstance(layer, LatentAttention)
    rotation = rotation_table(model.config.rope, model.rope_dim, torch.tensor([[n_keys - 1]]))
    context = AttentionContext(rotation, None, n_keys, read_cache=True, start=n_keys - 1)
    x_B1D, stored = torch.randn(batch, 1, model.config.dim), torch.randn(batch, n_keys, *layer.cache_shape())
    with torch.no_grad():
        ways = _ways(layer, context, x_B1D, stored)
        if theirs is not None:
            ways[THEIRS] = their_attention_step(theirs, x_B1D, stored)
        others = [way for way in ways if way != ABSORBED]
        for way in others:
            torch.testing.assert_close(ways[way](), ways[ABSORBED](), atol=1e-4, rtol=1e-3)
    times = max(1, _TOKENS_A_ROUND // (batch * n_keys))
    timings = time_interleaved({k: _repeated(way, times) for k, way in ways.items()}, lambda _: x_B1D, rounds, report)
    return {
        "row": name,
        **timings.machine,
        "batch": batch,
        "context": n_keys,
        "seconds": {way: [s / times for s in seconds] for way, seconds in timings.seconds.items()},
        "times_absorbed": {way: timings.ratios(way, ABSORBED) for way in others},
    }


def table(results: Sequence[dict[str, Any]]) -> Table:
    """One line a batch and context."""
    made = Table(title="One MLA layer, one token: milliseconds, and how many times as long as absorbed")
    for column in ("rows", "context", "absorbed ms", "expanded", "by transformers", "full keys and values"):
        made.add_column(column, justify="right")
    for result in results:
        found = result["times_absorbed"]
        ratios = (f"{median(found[way]):.1f}x" if way in found else "–" for way in (EXPANDED, THEIRS, FULL))
        ms = median(result["seconds"][ABSORBED]) * 1e3
        made.add_row(str(result["batch"]), str(result["context"]), f"{ms:.2f}", *ratios)
    return made


def save(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes attention_step.json and attention_step.png."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "attention_step.json").write_text(json.dumps(list(results), indent=1))
    batches = sorted({result["batch"] for result in results})
    figure = Figure(figsize=(4 * len(batches) + 0.5, 3.4), layout="constrained")
    for axes, batch in zip(figure.subplots(1, len(batches), squeeze=False)[0], batches, strict=True):
        mine = [result for result in results if result["batch"] == batch]
        contexts = [result["context"] for result in mine]
        for way in (way for way in _LABELS if way in mine[0]["seconds"]):
            ms = [median(result["seconds"][way]) * 1e3 for result in mine]
            axes.loglog(contexts, ms, "o-", label=_LABELS[way])
        axes.set_xticks(contexts, [f"{context:,}" for context in contexts], fontsize=8)
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_title(f"{batch} row{'s' * (batch > 1)}", fontsize=10)
        axes.set_xlabel("tokens of context")
    figure.axes[0].set_ylabel("milliseconds a step and layer")
    figure.axes[0].legend(fontsize=8)
    figure.savefig(folder / "attention_step.png", dpi=150)
