"""Batches of prepared rows: which rows each optimiser step sees, as a pure function of (seed, step).

What instruction data and preference data share once rows are prepared. Epochs are permutations that (seed, epoch)
alone decide; ranks read disjoint slices of a step; validation reads in order.

Left out: what a row is (`gather` of a split), batch ramps.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from deepseek_lab.config import CheckedConfig, ConfigError, DataError
from deepseek_lab.data.chat_rows import counted
from deepseek_lab.data.conversation import ConversationCorpus
from deepseek_lab.data.corpus import CorpusConfig, Split
from deepseek_lab.data.micro_batches import micro_batch_size
from deepseek_lab.data.packing import shuffled_samples
from deepseek_lab.text.tokenizer import Tokenizer, TokenizerConfig


class Rows(Protocol):
    """A split as numbered rows."""

    @property
    def n_rows(self) -> int:
        """How many there are."""

    @property
    def misfits(self) -> Mapping[str, int]:
        """What was done with how many of those that do not fit, in words."""

    def gather(self, rows_B: NDArray[np.int64]) -> Any:
        """The rows of these numbers as one batch, which has `cut(size)`."""


@dataclass(frozen=True, kw_only=True)
class RowDataConfig(CheckedConfig):
    """What every kind of prepared rows has."""

    corpus: CorpusConfig
    cache_dir: str
    seq_len: int
    batch_size: int  # rows an optimiser step, over all ranks
    micro_batch_size: int | None = None  # rows a forward pass; None: a rank's whole share of the step
    validation_share: float = 0.05
    test_share: float = 0.05
    tokenizer_bytes: int = 50_000_000  # what a tokenizer learns from

    kind: ClassVar[str]
    """What the rows are, in the words of a config error."""
    corpus_kind: ClassVar[type[Any]] = ConversationCorpus
    isolate_documents: ClassVar[bool] = True
    batch_size_start: ClassVar[None] = None

    def check(self) -> None:
        self.require_positive("seq_len", "batch_size", "micro_batch_size", "tokenizer_bytes")
        self.require_not_negative("validation_share", "test_share")
        if self.validation_share + self.test_share >= 1:
            raise ConfigError("and test_share leave nothing to train on", "validation_share")
        if self.batch_size % (self.micro_batch_size or 1):
            raise ConfigError(f"must divide batch_size ({self.batch_size})", "micro_batch_size")

    @property
    def validates(self) -> bool:
        """Whether rows are held out to validate on."""
        return self.validation_share > 0

    def tokens_in(self, max_steps: int) -> int:
        """Places in the rows of the first `max_steps` optimiser steps, over all ranks."""
        return max_steps * self.batch_size * self.seq_len

    def check_with(self, tokenizer_config: TokenizerConfig) -> None:
        """Raises ConfigError for packages that are not installed."""
        tokenizer_config.require_installed()
        self.corpus.require_installed()


class RowData:
    """Steps and validation over the rows of each split."""

    source_names: tuple[str, ...] = ()

    def __init__(
        self,
        config: RowDataConfig,
        tokenizer: Tokenizer,
        manifest: dict[str, Any],
        splits: dict[Split, Rows],
        seed: int,
    ) -> None:
        """Raises DataError when a wanted split has no row."""
        self.config, self.tokenizer, self.manifest, self.seed = config, tokenizer, manifest, seed
        self.token_bytes_V: NDArray[np.int64] = tokenizer.token_bytes()
        self._splits = splits
        for split in ("train", "val") if config.validates else ("train",):
            self._rows(split)

    def _rows(self, split: Split) -> Rows:
        rows = self._splits[split]
        if not rows.n_rows:
            if not any(rows.misfits.values()):
                way_out = "; data.validation_share=0 trains without" if split == "val" else ""
                raise DataError(f"the {split} split is empty: {self._shares()}{way_out}")
            left = counted(rows.misfits)
            raise DataError(f"the {split} split holds nothing that fits data.seq_len = {self.config.seq_len}: {left}")
        return rows

    def _shares(self) -> str:
        """Why a split may have nothing, in the words of the config."""
        shares = f"data.validation_share = {self.config.validation_share}, data.test_share = {self.config.test_share}"
        rows = ", ".join(f"{split} has {rows.n_rows}" for split, rows in self._splits.items() if rows.n_rows)
        return f"equal questions go the same way, {rows or 'and there are none'} ({shares})"

    @property
    def notes(self) -> list[str]:
        """What of the data is not used, or used in a way that needs saying: one line each."""
        misfits: Counter[str] = Counter()
        for rows in self._splits.values():
            misfits.update(rows.misfits)
        read = Counter(self.manifest.get("notes", {}))
        lines = [f"data.seq_len = {self.config.seq_len}: {counted(misfits)}"] if misfits.total() else []
        lines += [f"data.corpus: {note}" for note in self.manifest.get("left_out", ())]
        return [*lines, *([f"data.corpus: {counted(read)}"] if read else [])]

    def baselines(self) -> dict[str, float]:
        """Figures that a network must beat; none are known here."""
        return {}

    def step_batch(self, k: int, rank: int = 0, world_size: int = 1) -> list[Any]:
        """This rank's micro-batches of optimiser step `k` (from 0). Raises ConfigError on a size that does not fit."""
        size, rows = self.micro_batch_size(world_size), self._rows("train")
        share = self.config.batch_size // world_size
        first = k * self.config.batch_size + rank * share
        cut: list[Any] = rows.gather(shuffled_samples(first, share, self.seed, rows.n_rows)).cut(size)
        return cut

    def validation_batches(
        self, limit: int | None = None, rank: int = 0, world_size: int = 1, split: Split = "val"
    ) -> Iterator[Any]:
        """This rank's micro-batches of `limit` × `batch_size` rows of `split` at even distances; None: all of it."""
        rows, size, batch = self._rows(split), self.micro_batch_size(world_size), self.config.batch_size
        wanted = rows.n_rows if limit is None else min(rows.n_rows, limit * batch)
        chosen = np.arange(wanted) * rows.n_rows // wanted
        share = batch // world_size
        for start in range(0, wanted, batch):
            mine = chosen[start : start + batch][rank * share : (rank + 1) * share]
            if len(mine):
                yield from rows.gather(mine).cut(size)

    def micro_batch_size(self, world_size: int = 1) -> int:
        """Rows a forward pass. Raises ConfigError when a step cannot be cut evenly."""
        wanted, whole = self.config.micro_batch_size, self.config.batch_size
        return micro_batch_size(wanted, whole, world_size, "data.batch_size")
