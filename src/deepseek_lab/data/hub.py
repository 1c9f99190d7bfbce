"""Any text data set of the Hugging Face hub, or a local folder of the same form, through `datasets`.

Prepared as a whole (`datasets` downloads it into its own cache and maps it into memory), or streamed: then
nothing is downloaded but what training reads. A data set is told apart by its name and the revision and
files that `datasets` found for it, so opening it again reads no text.

Only plain formats are read: no data set's own code, nothing pickled. Without a network set HF_HUB_OFFLINE=1
and what is in the cache is used.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from deepseek_lab.config import ConfigError, DataError, nearest
from deepseek_lab.data.corpus import Corpus, CorpusConfig, Document
from deepseek_lab.data.hugging_face import datasets_library
from deepseek_lab.data.stream import Position, StreamedCorpus, StreamSettings

FORMATS = {"arrow", "csv", "json", "parquet", "text"}
SECONDS_TO_ANSWER = 10


class Hub:
    """Rows of a data set, each a document named by its number."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CorpusConfig):
        name: str
        subset: str | None = None
        split: str = "train"
        column: str = "text"
        revision: str | None = None
        cache_dir: str | None = None
        streaming: bool = False
        held_out_documents: int = 1000
        shard_tokens: int = 1_000_000
        window_shards: int = 4
        keep_shards: int | None = None

        def check(self) -> None:
            self.require_positive("held_out_documents", "shard_tokens", "window_shards")
            if self.keep_shards is not None and self.keep_shards < 2 * self.window_shards:
                raise ConfigError(f"must be null or at least two windows, {2 * self.window_shards}", "keep_shards")

        def build(self) -> "DownloadedHub | StreamedHub":
            return StreamedHub(self) if self.streaming else DownloadedHub(self)


class _Opened:
    """What both ways of reading share."""

    def __init__(self, config: Hub.Config) -> None:
        self.config = config

    @cached_property
    def builder(self) -> Any:
        """The data set as `datasets` found it. Raises DataError."""
        return _builder(self.config)

    @cached_property
    def identity(self) -> str:
        c, builder = self.config, self.builder
        return f"{c.name} {builder.config_id} {c.split} {c.column} {c.revision} {builder.hash}"

    def text_of(self, row: dict[str, Any]) -> str:
        """The wanted column. Raises DataError when there is none, or no text in it."""
        c = self.config
        if c.column not in row:
            raise DataError(f"{c.name} has no column '{c.column}', only {', '.join(row)}{nearest(c.column, row)}")
        text = row[c.column]
        if not isinstance(text, str):
            raise DataError(f"{c.name}: column '{c.column}' holds {text!r}, which is no text")
        return text


class DownloadedHub(_Opened, Corpus):
    """All rows, from the cache of `datasets`."""

    def documents(self) -> Iterator[Document]:
        for number, row in enumerate(self.rows):
            if text := self.text_of(row):
                yield Document(f"{self.config.split}/{number}", text)

    @cached_property
    def rows(self) -> Any:
        """The table; the wanted column alone where there is such a one."""
        with _named(self.config):
            self.builder.download_and_prepare()
            rows = self.builder.as_dataset(split=self.config.split)
        return rows.select_columns([self.config.column]) if self.config.column in rows.column_names else rows


class StreamedHub(_Opened, StreamedCorpus):
    """Rows as they are needed."""

    def __init__(self, config: Hub.Config) -> None:
        super().__init__(config)
        self.name = config.name
        self.settings = StreamSettings(
            held_out_documents=config.held_out_documents,
            shard_tokens=config.shard_tokens,
            window_shards=config.window_shards,
            keep_shards=config.keep_shards,
        )

    def reader(self, position: Position | None = None) -> "_Reader":
        with _named(self.config):
            rows = self.builder.as_streaming_dataset(split=self.config.split)
        return _Reader(self, rows, position or {"number": 0})


class _Reader:
    """Rows from a position on."""

    def __init__(self, hub: StreamedHub, rows: Any, position: Position) -> None:
        self._hub, self._rows, self._number = hub, rows, int(position["number"])
        if "rows" in position:
            rows.load_state_dict(position["rows"])
        self._iterator = iter(rows)

    def __iter__(self) -> "_Reader":
        return self

    def __next__(self) -> Document:
        while True:
            with _named(self._hub.config):
                row = next(self._iterator)
            self._number += 1
            if text := self._hub.text_of(row):
                return Document(f"{self._hub.config.split}/{self._number - 1}", text)

    def position(self) -> Position:
        return {"number": self._number, "rows": self._rows.state_dict()} if self._number else {"number": 0}


class _named:
    """Turns what `datasets` raises, and the network under it, into one line that names the data set.

    A class, because the end of an iteration must pass through, which no generator lets it.
    """

    def __init__(self, config: Hub.Config) -> None:
        self.name = config.name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, (StopIteration, DataError, ConfigError)):
            cause = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
            raise DataError(f"{self.name} cannot be read: {cause[0]}") from None


def _builder(config: Hub.Config) -> Any:
    datasets = datasets_library()
    place = os.path.expanduser(config.name)
    if not os.path.exists(place):
        _require_reachable(config)
    elif found := re.search(r"[*?[]", os.path.realpath(place)):
        raise DataError(
            f"{config.name}: `datasets` takes {found[0]} in a path for a pattern and reads its neighbours; rename it"
        )
    with _named(config):
        builder = datasets.load_dataset_builder(
            place, config.subset, revision=config.revision, cache_dir=config.cache_dir
        )
    if builder.name not in FORMATS:
        raise DataError(f"{config.name} is kept as {builder.name}; only {', '.join(sorted(FORMATS))} are read")
    return builder


def _require_reachable(config: Hub.Config) -> None:
    """Asks the hub once: `datasets` itself would try for half a minute. Raises DataError."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return
    import huggingface_hub

    try:
        huggingface_hub.HfApi().dataset_info(config.name, revision=config.revision, timeout=SECONDS_TO_ANSWER)
    except huggingface_hub.errors.HfHubHTTPError as error:
        raise DataError(f"{config.name}: the hub has no such data set for you: {str(error).splitlines()[0]}") from None
    except huggingface_hub.errors.HFValidationError:
        raise DataError(f"{config.name} is neither a folder nor the name of a data set (owner/name)") from None
    except Exception as error:  # several libraries' network errors
        raise DataError(
            f"{config.name}: the hub cannot be reached ({str(error).splitlines()[0]}); HF_HUB_OFFLINE=1 uses the cache"
        ) from None
