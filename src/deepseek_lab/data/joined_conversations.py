"""Several sources of conversations as one, end to end: what a fine-tuning on mixed data reads.

Left out: weights. A source has the share that its conversations have; who wants less of one takes fewer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from deepseek_lab.config import ConfigError
from deepseek_lab.data.conversation import Conversation, ConversationCorpus
from deepseek_lab.data.corpus import CorpusConfig


class JoinedConversations(ConversationCorpus):
    """The conversations of every source, in the order of the sources' names."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CorpusConfig):
        sources: dict[str, CorpusConfig]

        def check(self) -> None:
            if not self.sources:
                raise ConfigError("must name one source at least", "sources")

        def require_installed(self) -> None:
            for source in self.sources.values():
                source.require_installed()

        def build(self) -> "JoinedConversations":
            """Raises ConfigError for a source of anything but conversations."""
            built = {name: source.build() for name, source in sorted(self.sources.items())}
            corpora: dict[str, ConversationCorpus] = {}
            for name, corpus in built.items():
                if not isinstance(corpus, ConversationCorpus):
                    raise ConfigError("holds no conversations", f"data.corpus.sources.{name}")
                corpora[name] = corpus
            return JoinedConversations(corpora)

    def __init__(self, corpora: dict[str, ConversationCorpus]) -> None:
        self.corpora = corpora

    @property
    def notes(self) -> Sequence[str]:
        """Those of every source."""
        return [f"{name}: {note}" for name, corpus in self.corpora.items() for note in corpus.notes]

    def conversations(self) -> Iterator[Conversation]:
        for name, corpus in self.corpora.items():
            for one in corpus.conversations():
                yield replace(one, name=f"{name} {one.name}", held_out_with=one.split_name)
