"""Pretraining data: which tokens each optimiser step sees, as a pure function of (seed, step).

The corpora are encoded into token files under a hash of everything they depend on (content, tokenizer,
split); a run after that maps them into memory. Ranks read disjoint slices of the same step, so any number
of ranks and any micro-batch size see the same data. Validation reads in order and uses no random numbers.

Left out: a DataLoader. A batch takes a fraction of a millisecond, and workers with a state of their own
are what makes exact resumption hard.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.data.batch_ramp import BatchRamp
from deepseek_lab.data.corpus import SourcesConfig, Split
from deepseek_lab.data.micro_batches import micro_batch_size
from deepseek_lab.data.mixture import SampleOrder
from deepseek_lab.data.packing import MicroBatch, interleave
from deepseek_lab.data.preparation import Preparation, hash_of, require_vocabulary
from deepseek_lab.data.sources import Source
from deepseek_lab.data.trigram import trigram_bits_per_byte
from deepseek_lab.data.whole_folder import whole_file
from deepseek_lab.text.tokenizer import TokenizerConfig

SAMPLE_PROMPT = "def "


class PretrainData:
    """Batches of packed documents from a corpus."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        corpus: SourcesConfig
        cache_dir: str
        seq_len: int
        batch_size: int  # sequences an optimiser step, over all ranks
        batch_size_start: int | None = None  # of the first step; None: no ramp
        batch_ramp_steps: int = 0  # optimiser steps from there to batch_size
        micro_batch_size: int | None = None  # sequences a forward pass; None: a rank's whole share of the step
        isolate_documents: bool = False
        validation_share: float = 0.05
        test_share: float = 0.05
        fim_rate: float = 0.0  # training documents written prefix, suffix, middle
        punctuation_split_rate: float = 0.0  # tokens of punctuation and line breaks written as two
        tokenizer_bytes: int = 50_000_000  # what a tokenizer learns from, of each corpus
        n_workers: int | None = None  # threads that encode; None: one a core
        kind: ClassVar[str] = "text"

        def check(self) -> None:
            self.require_positive("seq_len", "batch_size", "batch_size_start", "micro_batch_size", "n_workers")
            self.require_positive("tokenizer_bytes")
            self.require_not_negative("validation_share", "test_share", "batch_ramp_steps")
            for name in ("fim_rate", "punctuation_split_rate"):
                if not 0 <= getattr(self, name) <= 1:
                    raise ConfigError(f"must lie between 0 and 1, not {getattr(self, name)}", name)
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
        def validates(self) -> bool:
            """Whether text is held out to validate on."""
            return self.validation_share > 0

        @property
        def ramp(self) -> BatchRamp:
            """Sequences of each step."""
            return BatchRamp(self.batch_size_start or self.batch_size, self.batch_size, self.batch_ramp_steps)

        def tokens_in(self, max_steps: int) -> int:
            """Tokens that the first `max_steps` optimiser steps predict, over all ranks."""
            return self.ramp.before(max_steps) * self.seq_len

        def check_with(self, tokenizer_config: TokenizerConfig) -> None:
            """Raises ConfigError for what this tokenizer cannot do, and for packages that are not installed."""
            if self.punctuation_split_rate and not tokenizer_config.joins_line_breaks:
                raise ConfigError(
                    f"= {self.punctuation_split_rate} splits nothing: this tokenizer has no token of punctuation and "
                    "line breaks; tokenizer=bpe_v3 and tokenizer=deepseek have",
                    "data.punctuation_split_rate",
                )
            tokenizer_config.require_installed()
            self.corpus.require_installed()

        def build(self, tokenizer_config: TokenizerConfig, vocab_size: int, seed: int) -> "PretrainData":
            """Opens the token files, or makes them with a progress bar.

            `vocab_size` is the model's; `seed` decides the order. Raises ConfigError, DataError, OSError.
            """
            require_vocabulary(tokenizer_config, vocab_size)
            if seed < 0:
                raise ConfigError(f"must not be negative, not {seed}", "seed")
            self.check_with(tokenizer_config)
            return PretrainData(self, self.sources(tokenizer_config, seed), seed)

        def sources(self, tokenizer_config: TokenizerConfig, seed: int) -> dict[str, Source]:
            """Every corpus, encoded by one tokenizer. Raises ConfigError, DataError, OSError."""
            how = self._preparation()
            configs = self.corpus.corpora()
            corpora = {name: config.build() for name, config in configs.items()}
            tokenizer = how.tokenizer(tokenizer_config, corpora)
            return {
                name: how.source(name, configs[name], corpora[name], tokenizer, self.seq_len, seed) for name in corpora
            }

        def _preparation(self) -> Preparation:
            return Preparation(
                cache=Path(self.cache_dir),
                validation_share=self.validation_share,
                test_share=self.test_share,
                fim_rate=self.fim_rate,
                punctuation_split_rate=self.punctuation_split_rate,
                tokenizer_bytes=self.tokenizer_bytes,
                n_workers=self.n_workers or os.cpu_count() or 1,
            )

    def __init__(self, config: Config, sources: dict[str, Source], seed: int) -> None:
        """Raises DataError when a wanted validation split has no whole sample."""
        self.config = config
        self.seed = seed
        self._ramp = config.ramp
        self._sources = list(sources.values())
        self._order = SampleOrder(list(config.corpus.shares().values()), seed)
        self.source_names: tuple[str, ...] = tuple(sources) if len(sources) > 1 else ()
        self.tokenizer = self._sources[0].files.tokenizer
        self.token_bytes_V: NDArray[np.int64] = self.tokenizer.token_bytes()
        self.manifest = self._manifest(sources)
        if config.validates:
            for source in self._sources:
                source.held_out("val")

    def _manifest(self, sources: dict[str, Source]) -> dict[str, Any]:
        """Of one corpus its own; of several the weights and those of all, under a hash of both."""
        manifests = {name: source.files.manifest for name, source in sources.items()}
        if len(sources) == 1:
            return next(iter(manifests.values()))
        weights = self.config.corpus.shares()
        hashes = {name: manifest["hash"] for name, manifest in manifests.items()}
        return {"hash": hash_of({"weights": weights, "sources": hashes}), "weights": weights, "sources": manifests}

    def step_batch(self, k: int, rank: int = 0, world_size: int = 1) -> list[MicroBatch]:
        """This rank's micro-batches of optimiser step `k` (from 0). Raises ConfigError on a size that does not fit."""
        size = self._ramp.size(k)
        rows = self._rows_of(rank, world_size, size)
        return self._training(self._ramp.before(k) + rows.start, len(rows)).cut(self.micro_batch_size(world_size, size))

    def _training(self, first: int, count: int) -> MicroBatch:
        """Training samples in a row, each from the source whose turn it is."""
        if len(self._sources) == 1:
            return self._sources[0].training(first, count)
        source_B, number_B = self._order.between(first, count)
        parts = []
        for index in np.unique(source_B).tolist():
            own = number_B[source_B == index]
            parts.append(self._sources[index].training(int(own[0]), len(own)))
        return interleave(parts, source_B)

    def validation_batches(
        self, limit: int | None = None, rank: int = 0, world_size: int = 1, split: Split = "val"
    ) -> Iterator[MicroBatch]:
        """This rank's micro-batches of `limit` × `batch_size` sequences of `split`, in order; None: all of it.

        A limit takes sequences at even distances through the whole split, source after source, so that a short
        validation does not judge its first few documents. Which ones depends neither on ranks nor on
        micro-batches. Only the last, short batch of a split can give one rank fewer micro-batches than another.
        Raises DataError when a source's split has no whole sample.
        """
        packed = [source.held_out(split) for source in self._sources]
        ends = np.cumsum([one.n_samples for one in packed])
        rows = self._rows_of(rank, world_size, self.config.batch_size)
        wanted = int(ends[-1]) if limit is None else min(int(ends[-1]), limit * self.config.batch_size)
        chosen = np.arange(wanted) * int(ends[-1]) // max(wanted, 1)
        for start in range(0, wanted, self.config.batch_size):
            mine = chosen[start : start + self.config.batch_size][rows.start : rows.stop]
            source_B = np.searchsorted(ends, mine, side="right")
            number_B = mine - (ends - [one.n_samples for one in packed])[source_B]
            parts = [packed[index].gather(number_B[source_B == index]) for index in np.unique(source_B).tolist()]
            if parts:
                yield from interleave(parts, source_B).cut(self.micro_batch_size(world_size))

    def micro_batch_size(self, world_size: int = 1, batch_size: int | None = None) -> int:
        """Sequences a forward pass. Raises ConfigError when a step of `batch_size` cannot be cut evenly."""
        whole = batch_size or self.config.batch_size
        key = "data.batch_size" if whole == self.config.batch_size else "data.batch_size_start"
        return micro_batch_size(self.config.micro_batch_size, whole, world_size, key)

    def sample_prompt(self) -> list[int]:
        """The beginning of the text that is written at each validation."""
        return self.tokenizer.encode(SAMPLE_PROMPT)

    def baselines(self) -> dict[str, float]:
        """Figures that a network must beat, by the name a report knows them under; none without held-out text."""
        return {"trigram_bits_per_byte": self.trigram_bits_per_byte()} if self.config.validates else {}

    @property
    def notes(self) -> list[str]:
        """What of the data is not used, or is held out in another way than usual: one line each."""
        named = {
            f"data.corpus.sources.{name}" if self.source_names else "data.corpus": self._sources[place]
            for place, name in enumerate(self.source_names or ("corpus",))
        }
        return [f"{name}: {note}" for name, source in named.items() for note in source.notes]

    def trigram_bits_per_byte(self, split: Split = "val") -> float:
        """Bits per byte of an add-one trigram byte model of the training text, on `split`; computed once.

        Of a stream it counts the first shard; corpora of a mixture count whole, whatever their weights.
        """
        hashes = "-".join(str(source.files.manifest["hash"]) for source in self._sources)
        path = Path(self.config.cache_dir) / "trigram" / f"{hash_of({'sources': hashes, 'split': split})}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            bits = trigram_bits_per_byte(self._text("train"), self._text(split))
            with whole_file(path) as file:
                file.write(json.dumps({"bits_per_byte": bits}))
        bits_per_byte: float = json.loads(path.read_text(encoding="utf-8"))["bits_per_byte"]
        return bits_per_byte

    def _text(self, split: Split) -> Iterator[bytes]:
        """The documents of a split, as they were before encoding, end to end."""
        return chain.from_iterable(source.text(split) for source in self._sources)

    def _rows_of(self, rank: int, world_size: int, batch_size: int) -> range:
        """Which of a step's `batch_size` sequences `rank` takes."""
        self.micro_batch_size(world_size, batch_size)
        share = batch_size // world_size
        return range(rank * share, (rank + 1) * share)
