"""Where samples come from: a corpus encoded as a whole, or a stream encoded shard by shard.

Both give the n-th of an endless row of training samples as a pure function of (seed, n). A whole corpus is
permuted anew each epoch; a stream within windows of a few shards, since what lies further ahead is not read
yet. Held-out text is small and always there as a whole.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.data.corpus import Split
from deepseek_lab.data.packing import MicroBatch, PackedSplit, interleave, shuffled_samples
from deepseek_lab.data.token_files import TokenFiles, TokenSplit
from deepseek_lab.data.token_shards import TokenShards

TOKENS_PER_TEXT = 1 << 20
"""How many tokens become bytes at once; the whole training text need not fit into memory."""


class Source(ABC):
    """Samples of one corpus."""

    notes: Sequence[str] = ()
    """What of the corpus is not read, or is held out in another way than usual; one line each."""

    def __init__(self, name: str, files: TokenFiles, seq_len: int, seed: int) -> None:
        """`name`: what errors call the corpus."""
        self.name, self.files, self.seq_len, self.seed = name, files, seq_len, seed

    @abstractmethod
    def training(self, first: int, count: int) -> MicroBatch:
        """Training samples number `first`, `first + 1`, … Raises DataError."""

    @abstractmethod
    def training_tokens(self) -> TokenSplit:
        """Training text to count bytes in: all of it, or the beginning."""

    def held_out(self, split: Split) -> PackedSplit:
        """A split in order. Raises DataError when it has no whole sample."""
        packed = PackedSplit(self.files.split(split), self.seq_len)
        if packed.n_samples < 1:
            raise DataError(
                f"the {split} split of {self.name} has {len(packed.tokens)} tokens, too few for one sequence of "
                f"data.seq_len={self.seq_len}{_REMEDIES[split]} ({self.files.folder})"
            )
        return packed

    def text(self, split: Split) -> Iterator[bytes]:
        """The text of a split as it was encoded, in pieces; of training text perhaps only the beginning."""
        tokens = (self.training_tokens() if split == "train" else self.files.split(split)).tokens
        for start in range(0, len(tokens), TOKENS_PER_TEXT):
            yield self.files.tokenizer.to_bytes(tokens[start : start + TOKENS_PER_TEXT].tolist())


_REMEDIES: dict[Split, str] = {
    "train": "",
    "val": ": lower that, raise data.validation_share, or train without held-out text (data.validation_share=0)",
    "test": ": lower that, or raise data.test_share",
}


class WholeSource(Source):
    """A corpus whose train split lies on the disk."""

    def __init__(self, name: str, files: TokenFiles, seq_len: int, seed: int) -> None:
        """Raises DataError when the train split has no whole sample."""
        super().__init__(name, files, seq_len, seed)
        self.train = self.held_out("train")

    def training(self, first: int, count: int) -> MicroBatch:
        return self.train.gather(shuffled_samples(first, count, self.seed, self.train.n_samples))

    def training_tokens(self) -> TokenSplit:
        return self.files.split("train")


class StreamedSource(Source):
    """A corpus whose train split is encoded as it is needed. The tokens behind a shard's last sample are left out."""

    def __init__(self, name: str, files: TokenFiles, shards: TokenShards, seq_len: int, seed: int) -> None:
        """Encodes the first shard. Raises ConfigError when a shard holds no sample, DataError."""
        super().__init__(name, files, seq_len, seed)
        self.shards = shards
        self.per_shard = (shards.settings.shard_tokens - 1) // seq_len
        if self.per_shard < 1:
            raise ConfigError(f"= {seq_len} is longer than a shard of the stream", "data.seq_len")
        shards.shard(0)

    def training(self, first: int, count: int) -> MicroBatch:
        in_window = self.shards.settings.window_shards * self.per_shard
        numbers = np.arange(first, first + count)
        samples = numbers // in_window * in_window + shuffled_samples(first, count, self.seed, in_window)
        return self._gather(samples)

    def _gather(self, samples_B: NDArray[np.int64]) -> MicroBatch:
        """The sequences, wherever they lie."""
        shard_B = samples_B // self.per_shard
        shards, place_B = np.unique(shard_B, return_inverse=True)
        parts = [
            PackedSplit(self.shards.shard(int(shard)), self.seq_len).gather(
                samples_B[shard_B == shard] % self.per_shard
            )
            for shard in shards
        ]
        together = interleave(parts, place_B)
        return MicroBatch(together.tokens_BT1, together.document_BT1, together.source_B.zero_())

    def training_tokens(self) -> TokenSplit:
        return self.shards.shard(0)
