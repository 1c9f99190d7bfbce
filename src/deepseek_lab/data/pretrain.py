"""Pretraining data: which tokens each optimiser step sees, as a pure function of (seed, step).

The corpus is encoded once into token files under a hash of everything they depend on (content, tokenizer,
split); a run after that maps them into memory. Ranks read disjoint slices of the same step, so any number
of ranks and any micro-batch size see the same data. Validation reads in order and uses no random numbers.

Left out: a DataLoader. A batch takes a fraction of a millisecond, and workers with a state of their own
are what makes exact resumption hard.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepseek_lab.config import CheckedConfig, ConfigError, DataError
from deepseek_lab.data.batch_ramp import BatchRamp
from deepseek_lab.data.corpus import Corpus, CorpusConfig, Split, split_of
from deepseek_lab.data.packing import MicroBatch, PackedSplit, shuffled_samples
from deepseek_lab.data.token_files import FORMAT, TokenFiles
from deepseek_lab.data.trigram import trigram_bits_per_byte
from deepseek_lab.data.whole_folder import whole_file
from deepseek_lab.text.tokenizer import TokenizerConfig


class PretrainData:
    """Batches of packed documents from a corpus."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        corpus: CorpusConfig
        cache_dir: str
        seq_len: int
        batch_size: int  # sequences an optimiser step, over all ranks
        batch_size_start: int | None = None  # of the first step; None: no ramp
        batch_ramp_steps: int = 0  # optimiser steps from there to batch_size
        micro_batch_size: int | None = None  # sequences a forward pass; None: a rank's whole share of the step
        isolate_documents: bool = False
        validation_share: float = 0.05
        test_share: float = 0.05
        n_workers: int | None = None  # threads that encode; None: one a core

        def check(self) -> None:
            self.require_positive("seq_len", "batch_size", "batch_size_start", "micro_batch_size", "n_workers")
            self.require_not_negative("validation_share", "test_share", "batch_ramp_steps")
            if self.validation_share + self.test_share >= 1:
                raise ConfigError(
                    f"and test_share leave nothing to train on: {self.validation_share} + {self.test_share}",
                    "validation_share",
                )
            if self.batch_size % (self.micro_batch_size or 1):
                raise ConfigError(f"must divide batch_size ({self.batch_size})", "micro_batch_size")
            self._check_ramp()

        def _check_ramp(self) -> None:
            start, steps = self.batch_size_start, self.batch_ramp_steps
            if (start is None) != (steps == 0):
                missing, given = ("batch_size_start", "batch_ramp_steps")[:: 1 if start is None else -1]
                raise ConfigError(f"is needed, too: {given} alone is no ramp", missing)
            if start is not None and start > self.batch_size:
                raise ConfigError(f"= {start} is above batch_size = {self.batch_size}", "batch_size_start")
            if start is not None and start % (self.micro_batch_size or 1):
                raise ConfigError(f"must divide batch_size_start ({start})", "micro_batch_size")

        @property
        def ramp(self) -> BatchRamp:
            """Sequences of each step."""
            return BatchRamp(self.batch_size_start or self.batch_size, self.batch_size, self.batch_ramp_steps)

        def tokens_in(self, max_steps: int) -> int:
            """Tokens that the first `max_steps` optimiser steps predict, over all ranks."""
            return self.ramp.before(max_steps) * self.seq_len

        def build(self, tokenizer_config: TokenizerConfig, vocab_size: int, seed: int) -> "PretrainData":
            """Opens the token files, or makes them with a progress bar.

            `vocab_size` is the model's; `seed` decides the order. Raises ConfigError, DataError, OSError.
            """
            needed = tokenizer_config.largest_vocabulary
            if vocab_size < needed:
                raise ConfigError(
                    f"must be at least {needed}, the size of the tokenizer's, not {vocab_size}", "model.vocab_size"
                )
            if seed < 0:
                raise ConfigError(f"must not be negative, not {seed}", "seed")
            return PretrainData(self, self.token_files(tokenizer_config), seed)

        def token_files(self, tokenizer_config: TokenizerConfig) -> TokenFiles:
            """The folder of this corpus under this tokenizer, made if it is not there."""
            corpus = self.corpus.build()
            description = self._description(corpus, tokenizer_config)
            folder = Path(self.cache_dir) / "data" / description["hash"]
            if folder.exists():
                return TokenFiles(folder)
            which = partial(split_of, validation_share=self.validation_share, test_share=self.test_share)
            n_workers = self.n_workers or os.cpu_count() or 1
            return TokenFiles.make(folder, corpus, which, tokenizer_config, n_workers, description)

        def _description(self, corpus: Corpus, tokenizer_config: TokenizerConfig) -> dict[str, Any]:
            """All that the token files depend on, and its hash."""
            depends_on = {
                "format": FORMAT,
                "corpus": _name(self.corpus),
                "content": corpus.content_hash(),
                "tokenizer_config": {"class": _name(tokenizer_config), **asdict(tokenizer_config)},
                "validation_share": float(self.validation_share),
                "test_share": float(self.test_share),
            }
            digest = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
            return {"hash": digest[:16], **depends_on}

    def __init__(self, config: Config, files: TokenFiles, seed: int) -> None:
        """Raises DataError when the train split, or a wanted validation split, has no whole sample."""
        self.config = config
        self.seed = seed
        self._ramp = config.ramp
        self.manifest = files.manifest
        self.tokenizer = files.tokenizer
        self.token_bytes_V: NDArray[np.int64] = files.tokenizer.token_bytes()
        self._files = files
        self._train = self._packed("train")
        if config.validation_share > 0:
            self._packed("val")

    @property
    def samples_per_epoch(self) -> int:
        """How many sequences the train split gives."""
        return self._train.n_samples

    def step_batch(self, k: int, rank: int = 0, world_size: int = 1) -> list[MicroBatch]:
        """This rank's micro-batches of optimiser step `k` (from 0). Raises ConfigError on a size that does not fit."""
        size = self._ramp.size(k)
        rows = self._rows_of(rank, world_size, size)
        samples = shuffled_samples(self._ramp.before(k) + rows.start, len(rows), self.seed, self._train.n_samples)
        return self._train.micro_batches(samples, self.micro_batch_size(world_size, size))

    def validation_batches(
        self, limit: int | None = None, rank: int = 0, world_size: int = 1, split: Split = "val"
    ) -> Iterator[MicroBatch]:
        """This rank's micro-batches of `limit` × `batch_size` sequences of `split`, in order; None: all of it.

        A limit takes sequences at even distances through the whole split, so that a short validation does not
        judge its first few documents. Which ones depends neither on ranks nor on micro-batches. Only the last,
        short batch of a split can give one rank fewer micro-batches than another. Raises DataError when the
        split has no whole sample.
        """
        packed = self._packed(split)
        rows = self._rows_of(rank, world_size, self.config.batch_size)
        wanted = packed.n_samples if limit is None else min(packed.n_samples, limit * self.config.batch_size)
        chosen = np.arange(wanted) * packed.n_samples // max(wanted, 1)
        for start in range(0, wanted, self.config.batch_size):
            batch = chosen[start : start + self.config.batch_size]
            yield from packed.micro_batches(batch[rows.start : rows.stop], self.micro_batch_size(world_size))

    def micro_batch_size(self, world_size: int = 1, batch_size: int | None = None) -> int:
        """Sequences a forward pass. Raises ConfigError when a step of `batch_size` cannot be cut evenly."""
        whole = batch_size or self.config.batch_size
        size = self.config.micro_batch_size or max(whole // world_size, 1)
        if whole % (size * world_size):
            raise ConfigError(
                f"({whole}) must be a multiple of {size * world_size}: micro-batches of {size} on {world_size} ranks",
                "data.batch_size" if whole == self.config.batch_size else "data.batch_size_start",
            )
        return size

    def trigram_bits_per_byte(self, split: Split = "val") -> float:
        """Bits per byte of an add-one trigram byte model of the train split, on `split`; computed once."""
        path = self._files.folder / f"trigram_{split}.json"
        if not path.exists():
            bits = trigram_bits_per_byte(self._text_bytes("train"), self._text_bytes(split))
            with whole_file(path) as file:
                file.write(json.dumps({"bits_per_byte": bits}))
        bits_per_byte: float = json.loads(path.read_text(encoding="utf-8"))["bits_per_byte"]
        return bits_per_byte

    def _text_bytes(self, split: Split) -> bytes:
        """The documents of a split, as they were before encoding, end to end."""
        return self.tokenizer.to_bytes(self._files.split(split).tokens.tolist())

    def _rows_of(self, rank: int, world_size: int, batch_size: int) -> range:
        """Which of a step's `batch_size` sequences `rank` takes."""
        self.micro_batch_size(world_size, batch_size)
        share = batch_size // world_size
        return range(rank * share, (rank + 1) * share)

    def _packed(self, split: Split) -> PackedSplit:
        packed = PackedSplit(self._files.split(split), self.config.seq_len)
        if packed.n_samples < 1:
            raise DataError(
                f"the {split} split of the corpus has {len(packed.tokens)} tokens, too few for one sequence of "
                f"data.seq_len={self.config.seq_len} ({self._files.folder})"
            )
        return packed


def _name(config: object) -> str:
    """What a config configures: `StandardLibrary` for `StandardLibrary.Config`."""
    return type(config).__qualname__.removesuffix(".Config")
