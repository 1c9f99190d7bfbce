"""Token shards: the training text of a stream, encoded piece by piece when it is first needed.

Shard i holds tokens [iS, (i+1)S) of the stream, so what a sample holds follows from its number alone. Beside
the shards stands, for each, the place where the next begins. A run goes on at any shard from the note before
it, so old shards may be dropped (`keep_shards`) and made again. A note and a shard appear whole or not at
all; a lock lets one process make what others wait for.

Left out: encoding ahead of training. It waits once a window, for about a second a million tokens.
"""

import json
import shutil
from functools import lru_cache
from pathlib import Path

from deepseek_lab.config import DataError
from deepseek_lab.data.document_encoder import DocumentEncoder
from deepseek_lab.data.stream import Position, StreamedCorpus
from deepseek_lab.data.stream_tokens import Place, StreamTokens
from deepseek_lab.data.token_files import TokenSplit, open_split, save_offsets, token_dtype
from deepseek_lab.data.whole_folder import one_at_a_time, whole_file, whole_folder

TOKENS, OFFSETS = "train.tokens", "train.offsets.npy"


class TokenShards:
    """The shards in one folder."""

    def __init__(self, folder: Path, corpus: StreamedCorpus, encoder: DocumentEncoder, start: Position) -> None:
        """`start`: where training text begins in the stream."""
        self.folder = folder
        self.settings = corpus.settings
        self._corpus, self._encoder, self._start = corpus, encoder, start
        self._open: tuple[int, StreamTokens] | None = None
        self.shard = lru_cache(maxsize=2 * self.settings.window_shards)(self._shard)

    def _shard(self, index: int) -> TokenSplit:
        """Shard `index`, made when it is not there. Raises DataError, OSError."""
        folder = self._shard_folder(index)
        if not folder.exists():
            with one_at_a_time(self.folder / ".lock"):
                if not folder.exists():
                    self._make_until(index)
                    self._drop_before(index)
        split = open_split(folder / TOKENS, folder / OFFSETS, self._encoder.tokenizer.vocab_size)
        if len(split.tokens) != self.settings.shard_tokens:
            raise DataError(f"{folder} is damaged: delete it and run again, it is made anew")
        return split

    def _make_until(self, index: int) -> None:
        """Makes shard `index`, and the notes before it that are missing."""
        number, tokens = self._tokens_before(index)
        while number <= index:
            ids, offsets = tokens.take(self.settings.shard_tokens)
            number += 1
            with whole_file(self._note(number)) as file:
                json.dump(tokens.place.to_json(), file)
            self._open = (number, tokens)
        with whole_folder(self._shard_folder(index)) as partial:
            # Not tofile: on a full disk numpy's own writing raises an OSError without errno or reason.
            dtype = token_dtype(self._encoder.tokenizer.vocab_size)
            (partial / TOKENS).write_bytes(ids.astype(dtype).tobytes())
            save_offsets(partial / OFFSETS, offsets)

    def _tokens_before(self, index: int) -> tuple[int, StreamTokens]:
        """The nearest shard at or before `index` that can be begun, and the tokens from its start on."""
        if self._open and self._open[0] == index:
            return self._open
        number = index
        while number > 0 and not self._note(number).exists():
            number -= 1
        place = Place(**json.loads(self._note(number).read_text(encoding="utf-8"))) if number else None
        return number, StreamTokens(self._corpus, self._encoder, self._start, place)

    def _drop_before(self, index: int) -> None:
        """Deletes what lies more than `keep_shards` behind."""
        if self.settings.keep_shards is None:
            return
        for old in self.folder.glob("shard-*"):
            if int(old.name.removeprefix("shard-")) <= index - self.settings.keep_shards:
                shutil.rmtree(old.rename(old.with_name(f".dropped-{old.name}")))

    def _shard_folder(self, index: int) -> Path:
        return self.folder / f"shard-{index:06d}"

    def _note(self, number: int) -> Path:
        """Where the place is noted at which shard `number` begins."""
        return self.folder / f"place-{number:06d}.json"
