"""`scripts/evaluate.py what=needle`: how far back a trained network reads.

For each length and depth, `trials` haystacks of held-out code with one fact in them (`tasks.needle`); a trial
counts when every token of the answer is the network's greedy choice. The answer is fed along, which gives the
same verdict as generating it: the first wrong token ends both.

Left out: sampling, facts in other words, several needles at once.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from deepseek_lab.checkpoint.atomic import write_atomically, write_text_atomically
from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.data.corpus import split_of
from deepseek_lab.data.needles import HELD_OUT
from deepseek_lab.data.standard_library import StandardLibrary
from deepseek_lab.experiment.finished import FinishedRun
from deepseek_lab.experiment.published import PublishedModel
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.objectives.acceptance import greedy_tokens
from deepseek_lab.report.needle import needle_figure
from deepseek_lab.tasks.needle import VALUES, Needle, draw, haystack
from deepseek_lab.text.tokenizer import Tokenizer

_TOKENS_AT_ONCE = 8192


@dataclass(frozen=True, kw_only=True)
class NeedleTest(CheckedConfig):
    """Lengths in tokens, answer included; depths from 0 (the text's beginning) to 1, evenly spaced."""

    lengths: list[int]
    n_depths: int
    trials: int
    seed: int

    def check(self) -> None:
        self.require_positive("n_depths", "trials")
        self.require_not_negative("seed")
        if not self.lengths or min(self.lengths) < 32:
            raise ConfigError(f"must be numbers of at least 32, not {list(self.lengths)}", "lengths")

    @property
    def depths(self) -> list[float]:
        return [i / max(self.n_depths - 1, 1) for i in range(self.n_depths)]


def held_out_filler(tokenizer: Tokenizer) -> list[int]:
    """Tokens of the standard library's files that no training split holds, end to end."""
    files = StandardLibrary.Config().build().documents()
    texts = [d.text for d in files if split_of(d.name, **HELD_OUT) != "train"]
    return [token for ids in tokenizer.encode_batch(texts) for token in ids]


def _trial(
    needle: Needle, tokenizer: Tokenizer, filler: Sequence[int], length: int, depth: float
) -> tuple[list[int], int]:
    """One test of exactly `length` tokens that ends in its answer, and the number of the answer's tokens."""
    line, question, answer = tokenizer.encode_batch([needle.line, needle.question, needle.answer])
    return [*haystack(filler, line, question, length - len(answer), depth), *answer], len(answer)


@torch.no_grad()
def found(model: Transformer, rows: Sequence[tuple[list[int], int]]) -> list[bool]:
    """For each row of equal length, whether the model's greedy choice is every token of the answer at its end."""
    longest = max(n for _, n in rows)
    tokens_BT = torch.tensor([ids for ids, _ in rows], device=model.head_weight_VD.device)
    hidden_BSD = model(tokens_BT[:, :-1]).hidden_BTD[:, -longest:]
    greedy_BS = greedy_tokens(hidden_BSD.flatten(0, 1), model.head_weight_VD).view(len(rows), longest)
    right_BS = greedy_BS == tokens_BT[:, -longest:]
    return [bool(right_BS[i, longest - n :].all()) for i, (_, n) in enumerate(rows)]


def accuracy(model: Transformer, tokenizer: Tokenizer, filler: list[int], test: NeedleTest) -> dict[int, list[float]]:
    """Share of needles found: for each length, one number a depth."""
    results: dict[int, list[float]] = {length: [] for length in test.lengths}
    cells = list(product(test.lengths, test.depths))
    for length, depth in track(cells, "looking for needles", console=Console(stderr=True, markup=False, emoji=False)):
        source = random.Random(f"{test.seed} {length} {depth}")
        rows = [_drawn(source, tokenizer, filler, length, depth) for _ in range(test.trials)]
        size = max(1, _TOKENS_AT_ONCE // length)
        verdicts = [v for start in range(0, len(rows), size) for v in found(model, rows[start : start + size])]
        results[length].append(sum(verdicts) / len(verdicts))
    return results


def _drawn(
    source: random.Random, tokenizer: Tokenizer, filler: list[int], length: int, depth: float
) -> tuple[list[int], int]:
    (needle,) = draw(1, source)
    start = source.randrange(max(len(filler) - length, 1))
    return _trial(needle, tokenizer, filler[start : start + length], length, depth)


def evaluate_needles(run: FinishedRun | PublishedModel, test: NeedleTest, device: torch.device) -> dict[str, Any]:
    """Runs the test, writes `needle.json` and `plots/needle.png` into the run's folder; returns the figures.

    Raises ConfigError for a length beyond the model's `max_seq_len`.
    """
    model, tokenizer = run.model(device), run.tokenizer()
    if max(test.lengths) > model.config.max_seq_len:
        longest = model.config.max_seq_len
        raise ConfigError(f"goes beyond the model's max_seq_len = {longest}: {max(test.lengths)}", "needle.lengths")
    results = accuracy(model, tokenizer, held_out_filler(tokenizer), test)
    figures: dict[str, Any] = {
        **{f"eval/needle_{length}/pass@1": sum(row) / len(row) for length, row in results.items()},
        "chance": 1 / len(VALUES),
        "depths": test.depths,
        "by_depth": {str(length): row for length, row in results.items()},
        "trials": test.trials,
    }
    _write(run.folder, figures, results, test.depths)
    return figures


def _write(folder: Path, figures: dict[str, Any], results: dict[int, list[float]], depths: list[float]) -> None:
    write_text_atomically(folder / "needle.json", json.dumps(figures, indent=1) + "\n")
    (folder / "plots").mkdir(exist_ok=True)
    picture = needle_figure(results, depths)
    write_atomically(folder / "plots" / "needle.png", lambda file: file.write(picture))
