"""Decoding beside `transformers`: the same DeepSeek-V3 (27M active, 16 experts), the same weights, greedy, fp32.

Steps: a forward for one token a row behind a cached prompt, theirs as a plain loop over their model and its latent
cache, which spares them what `generate` costs around it. Group: 8 samples of one prompt, prefill included, against
their `generate` and against our own engine asked 8 times.

With `compiled` also steps through `torch.compile`: ours, and theirs at its best, with a static cache and with experts
multiplied for each token on its own, as the grouped ones do not compile for fp32 on a CPU.
"""

import copy
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from deepseek_lab.benchmarking.contestants import Workload, our_model, their_model
from deepseek_lab.benchmarking.interleaved import time_interleaved
from deepseek_lab.benchmarking.published_weights import copy_weights
from deepseek_lab.generation import Engine, Request
from deepseek_lab.generation.compiled import COMPILED_ROWS, compiled_decode_one
from deepseek_lab.generation.decoding import DecodeOne, decode_many, prefill
from deepseek_lab.generation.lean.step import decode_one_of
from deepseek_lab.model.prepared import Prepared

OURS, THEIRS, ALONE = "ours", "transformers", "ours, one by one"
COMPILED, THEIRS_COMPILED = "ours, compiled", "transformers, compiled"
_SIZES = Workload("decoding", batch=1, seq_len=1, n_experts=16)


@dataclass(frozen=True)
class Row:
    """`batch` rows of `prompt` tokens, `new` tokens each; `group` shares one prompt among the rows."""

    batch: int
    prompt: int
    new: int
    group: bool = False


ROWS = {
    "B1": Row(1, 32, 64),
    "B8": Row(8, 32, 64),
    "B64": Row(64, 32, 64),
    "B8C2048": Row(8, 2048, 16),  # transformers takes a second or two for a step of it
    "G8": Row(8, 512, 16, group=True),
    "G8N64": Row(8, 512, 64, group=True),
    "G8N256": Row(8, 512, 256, group=True),
}


def _models() -> tuple[Any, Any]:
    theirs, ours = their_model(_SIZES).eval(), our_model(_SIZES).eval()
    copy_weights(theirs, ours)
    return theirs, ours


def _greedy(logits_BV: Tensor) -> Tensor:
    return logits_BV.argmax(-1)


def our_steps(model: Any, row: Row, ids_BT: Tensor, decode_one: DecodeOne | None = None) -> Callable[[Tensor], float]:
    """Decodes behind the prompt, whose cache is made once and wound back before each round; as an engine does it, or
    with another step."""
    decode_one = decode_one or decode_one_of(model, Prepared.of(model))
    cache = model.new_cache(row.batch, row.prompt + row.new)
    with torch.no_grad():
        logits_BV = prefill(model, ids_BT, cache)

    def steps(_: Tensor) -> float:
        cache.lengths = [row.prompt] * row.batch
        return float(decode_many(model, logits_BV, cache, row.new, _greedy, decode_one).sum())

    return steps


def their_steps(model: Any, row: Row, ids_BT: Tensor) -> Callable[[Tensor], float]:
    """The same with transformers' model and cache."""
    with torch.no_grad():
        first = model(ids_BT, use_cache=True, logits_to_keep=1)
    return _their_loop(model, row, first.past_key_values, first.logits[:, -1])


def their_compiled_steps(model: Any, row: Row, ids_BT: Tensor) -> Callable[[Tensor], float]:
    """The same through `torch.compile`, on a copy of their model."""
    from transformers import StaticCache

    model = copy.deepcopy(model)
    cache = StaticCache(config=model.config, max_cache_len=row.prompt + row.new)
    with torch.no_grad():
        first = model(ids_BT, past_key_values=cache, use_cache=True, logits_to_keep=1)
    model.set_experts_implementation("batched_mm")  # not for the prompt: it copies experts for each token
    return _their_loop(torch.compile(model), row, cache, first.logits[:, -1])


def _their_loop(model: Any, row: Row, cache: Any, logits_BV: Tensor) -> Callable[[Tensor], float]:
    def steps(_: Tensor) -> float:
        tokens = [_greedy(logits_BV)]
        beyond = int(cache.get_seq_length()) - row.prompt
        if beyond:
            cache.crop(-beyond)
        with torch.no_grad():
            while len(tokens) < row.new:
                output = model(tokens[-1][:, None], past_key_values=cache, use_cache=True)
                tokens.append(_greedy(output.logits[:, -1]))
        return float(torch.stack(tokens).sum())

    return steps


def _grouped(theirs: Any, ours: Any, row: Row, ids_BT: Tensor) -> dict[str, Callable[[Tensor], float]]:
    prompt = ids_BT[0].tolist()
    one = Request(prompt=prompt, max_new_tokens=row.new)
    group = Request(prompt=prompt, max_new_tokens=row.new, n=row.batch)

    def answer(requests: Sequence[Request]) -> float:
        return float(sum(sum(c.ids) for several in Engine(ours).run(requests) for c in several))

    def generate(_: Tensor) -> float:
        with torch.no_grad():
            made = theirs.generate(ids_BT, max_new_tokens=row.new, do_sample=False, eos_token_id=-1)
        return float(made[:, row.prompt :].sum())

    alone = lambda _: sum(answer([one]) for _ in range(row.batch))  # noqa: E731
    return {OURS: lambda _: answer([group]), THEIRS: generate, ALONE: alone}


def _compiled(theirs: Any, ours: Any, row: Row, ids_BT: Tensor) -> dict[str, Callable[[Tensor], float]]:
    found = {THEIRS_COMPILED: their_compiled_steps(theirs, row, ids_BT)}
    if row.batch <= COMPILED_ROWS:
        found[COMPILED] = our_steps(ours, row, ids_BT, compiled_decode_one())
    return found


def measure(name: str, rounds: int, report: Callable[[str], None], compiled: bool = False) -> dict[str, Any]:
    """Seconds of each contestant and how many times as fast ours is; raises ValueError where tokens differ.

    compiled: also compiled steps: ours for as few rows as an engine compiles, and theirs
    """
    row, (theirs, ours) = ROWS[name], _models()
    generator = torch.Generator().manual_seed(0)
    ids_1T = torch.randint(8192, (1 if row.group else row.batch, row.prompt), generator=generator)
    ids_BT = ids_1T.expand(row.batch, -1).contiguous()
    contestants = (
        _grouped(theirs, ours, row, ids_BT)
        if row.group
        else {OURS: our_steps(ours, row, ids_BT), THEIRS: their_steps(theirs, row, ids_BT)}
    )
    if compiled and not row.group:
        contestants |= _compiled(theirs, ours, row, ids_BT)
    timings = time_interleaved(contestants, lambda _: ids_BT, rounds, report)
    sums = timings.losses
    if len({total for totals in sums.values() for total in totals}) > 1:
        raise ValueError(f"{name}: the contestants' tokens differ: {sums}")
    ratios = {who: timings.ratios(who, _ours_beside(who, contestants)) for who in contestants if who != OURS}
    return {
        "row": name,
        "rounds": rounds,
        "new": row.batch * row.new,
        "seconds": timings.seconds,
        "ratios": ratios,
        **timings.machine,
    }


def _ours_beside(who: str, contestants: Collection[str]) -> str:
    """Compiled steps are held against compiled ones, where we have them."""
    return COMPILED if who == THEIRS_COMPILED and COMPILED in contestants else OURS


def table(results: Sequence[dict[str, Any]]) -> Table:
    """One line a row and contestant."""
    made = Table(title="Decoding: tokens/s, and how many times as fast as the others")
    for column in ("row", "against", "ours", "theirs", "median", "lowest", "highest"):
        made.add_column(column, justify="left" if column in ("row", "against") else "right", no_wrap=True)
    for result in results:
        speed = {who: result["new"] / median(seconds) for who, seconds in result["seconds"].items()}
        for who, ratios in result["ratios"].items():
            spread = (f"{value:.2f}" for value in (median(ratios), min(ratios), max(ratios)))
            ours = speed[_ours_beside(who, speed)]
            made.add_row(result["row"], who, f"{ours:,.0f}", f"{speed[who]:,.0f}", *spread)
    return made


def save(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Writes decoding.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "decoding.json").write_text(json.dumps(list(results), indent=1))
