"""Conversations and pairs of answers from the Hugging Face hub, or a local folder of the same form.

Rows are read as those of files are (`chat_rows`).

Left out: streaming (such sets fit on a disk), and columns of other names; map those once with `datasets`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from deepseek_lab.data.chat_rows import READING, pair_of
from deepseek_lab.data.conversation import Conversation, ConversationCorpus
from deepseek_lab.data.conversation_files import conversations_in
from deepseek_lab.data.corpus import CorpusConfig
from deepseek_lab.data.hub import DownloadedHub, Hub
from deepseek_lab.data.preference_pairs import Pair, PairCorpus


@dataclass(frozen=True, kw_only=True)
class HubRowsConfig(CorpusConfig):
    """Which table of which data set."""

    name: str
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    cache_dir: str | None = None

    def table(self) -> DownloadedHub:
        """All its columns."""
        return DownloadedHub(Hub.Config(**vars(self), column=""))


class _HubRows:
    """What both kinds of rows share."""

    has_thoughts = False  # of which `READING` tells

    def __init__(self, table: DownloadedHub) -> None:
        self.table = table

    @cached_property
    def identity(self) -> str:
        return f"{self.table.identity} {READING}"

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every row with the place it stands at."""
        for number, row in enumerate(self.table.rows):
            yield f"{self.table.config.name}, row {number}", row


class HubConversations(_HubRows, ConversationCorpus):
    """Rows of instruction data."""

    @dataclass(frozen=True, kw_only=True)
    class Config(HubRowsConfig):
        def build(self) -> "HubConversations":
            return HubConversations(self.table())

    def conversations(self) -> Iterator[Conversation]:
        return conversations_in(self.rows())


class HubPairs(_HubRows, PairCorpus):
    """Rows of preference data."""

    @dataclass(frozen=True, kw_only=True)
    class Config(HubRowsConfig):
        def build(self) -> "HubPairs":
            return HubPairs(self.table())

    def pairs(self) -> Iterator[Pair]:
        for where, row in self.rows():
            yield pair_of(row, where)
