"""From corpora to sources: one tokenizer over all their training text, token files for each.

Everything made here lies in a cache under a hash of what it depends on. A corpus' token files do not depend
on the other corpora, except through a tokenizer that learns from them, and never on weights: changing those
encodes nothing again.
"""

import hashlib
import json
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from deepseek_lab.config import ConfigError
from deepseek_lab.data.corpus import Corpus, CorpusConfig, Document, Split, ends_held_out, split_of
from deepseek_lab.data.document_encoder import DocumentEncoder
from deepseek_lab.data.sources import Source, StreamedSource, WholeSource
from deepseek_lab.data.stream import StreamedCorpus
from deepseek_lab.data.token_files import FORMAT, TokenFiles
from deepseek_lab.data.token_shards import TokenShards
from deepseek_lab.data.whole_folder import one_at_a_time, whole_file
from deepseek_lab.text.tokenizer import Tokenizer, TokenizerConfig

ENDS_HELD_OUT = "too few documents for whole ones to be held out; the end of each is instead"


def require_vocabulary(tokenizer_config: TokenizerConfig, vocab_size: int) -> None:
    """Raises ConfigError for a network of fewer tokens than its tokenizer may have."""
    needed = tokenizer_config.largest_vocabulary
    if vocab_size < needed:
        raise ConfigError(
            f"must be at least {needed}, the size of the tokenizer's, not {vocab_size}", "model.vocab_size"
        )


def hash_of(content: Mapping[str, Any]) -> str:
    """16 letters that tell plain values apart."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def kind_of(config: object) -> str:
    """What a config configures: `StandardLibrary` for `StandardLibrary.Config`."""
    return type(config).__qualname__.removesuffix(".Config")


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How documents are split and become tokens; what token files depend on beside corpus and tokenizer."""

    cache: Path
    validation_share: float
    test_share: float
    fim_rate: float
    punctuation_split_rate: float
    tokenizer_bytes: int
    n_workers: int

    def tokenizer(self, config: TokenizerConfig, corpora: Mapping[str, Corpus]) -> Tokenizer:
        """The tokenizer, fitted to the beginning of the training text of all corpora if it learns."""
        if not config.learns:
            return config.build(())
        depends_on = {
            **self._splitting(*corpora.values()),
            "corpora": sorted(self._text_identity(corpus) for corpus in corpora.values()),
            "config": {"class": kind_of(config), **asdict(config)},
            "bytes": self.tokenizer_bytes,
        }
        path = self.cache / "tokenizers" / f"{hash_of(depends_on)}.json"
        with self._alone(path.stem):
            if not path.exists():
                texts = chain.from_iterable(self._training_texts(corpora[name]) for name in sorted(corpora))
                built = config.build(texts)
                path.parent.mkdir(parents=True, exist_ok=True)
                with whole_file(path) as file:
                    file.write(built.to_json())
        return Tokenizer.load(path)

    def source(
        self, name: str, config: CorpusConfig, corpus: Corpus, tokenizer: Tokenizer, seq_len: int, seed: int
    ) -> Source:
        """Opens the token files of one corpus, made if they are not there. Raises ConfigError, DataError, OSError."""
        encoder = DocumentEncoder(tokenizer, self.fim_rate, self.punctuation_split_rate, self.n_workers)
        description = self._description(config, corpus, tokenizer)
        folder = self.cache / "data" / description["hash"]
        name = f"the {name}" if name == "corpus" else f"'{name}'"
        with self._alone(folder.name):
            if not folder.exists():
                self._make_files(folder, corpus, encoder, description)
        files = TokenFiles(folder)
        if not isinstance(corpus, StreamedCorpus):
            made: Source = WholeSource(name, files, seq_len, seed)
        else:
            shards = TokenShards(folder, corpus, encoder, files.manifest["training_text_begins"])
            made = StreamedSource(name, files, shards, seq_len, seed)
        made.notes = [*([ENDS_HELD_OUT] if "held_out" in description else []), *corpus.notes]
        return made

    def _alone(self, what: str) -> AbstractContextManager[None]:
        """Of the ranks of a run one makes a thing; the others wait for it."""
        return one_at_a_time(self.cache / "locks" / what)

    def _make_files(self, folder: Path, corpus: Corpus, encoder: DocumentEncoder, description: dict[str, Any]) -> None:
        """A whole corpus; of a stream the held-out documents, and a note where training text begins."""
        if isinstance(corpus, StreamedCorpus):
            reader = corpus.reader()
            deque(islice(reader, self._n_held_out(corpus)), maxlen=0)
            where = {"training_text_begins": reader.position()}
            TokenFiles.make(folder, lambda: self._beginning(corpus), encoder, description | where)
        else:
            TokenFiles.make(folder, lambda: self._documents(corpus), encoder, description)

    def _splitting(self, *corpora: Corpus) -> dict[str, Any]:
        shares = {"validation_share": float(self.validation_share), "test_share": float(self.test_share)}
        ends = {"held_out": "ends"} if any(map(self._holds_out_ends, corpora)) else {}
        return {"format": FORMAT, **shares, **ends}

    def _holds_out_ends(self, corpus: Corpus) -> bool:
        """Whether a wanted split would be empty if whole documents were held out."""
        if isinstance(corpus, StreamedCorpus) or not corpus.may_be_cut:
            return False
        missing = {"train": 1.0, "val": self.validation_share, "test": self.test_share}
        missing = {split: share for split, share in missing.items() if share}
        for document in corpus.documents():
            missing.pop(self._split_of(document), None)
            if not missing:
                return False
        return True

    def _split_of(self, document: Document) -> Split:
        return split_of(document.split_name, self.validation_share, self.test_share)

    def _description(self, config: CorpusConfig, corpus: Corpus, tokenizer: Tokenizer) -> dict[str, Any]:
        """All that the token files depend on, and its hash."""
        depends_on = {
            **self._splitting(corpus),
            "corpus": kind_of(config),
            "content": corpus.identity,
            "tokenizer_hash": tokenizer.fingerprint(),
            "fim_rate": float(self.fim_rate),
            "punctuation_split_rate": float(self.punctuation_split_rate),
        }
        if isinstance(corpus, StreamedCorpus):
            depends_on["stream"] = {
                key: value for key, value in asdict(corpus.settings).items() if key != "keep_shards"
            }
        return {"hash": hash_of(depends_on), **depends_on}

    def _documents(self, corpus: Corpus) -> Iterator[tuple[Document, Split]]:
        in_parts = self._holds_out_ends(corpus)
        for document in corpus.documents():
            if in_parts:
                yield from ends_held_out(document, self.validation_share, self.test_share)
            else:
                yield document, self._split_of(document)

    def _training_texts(self, corpus: Corpus) -> Iterator[str]:
        """Training text, `tokenizer_bytes` of it and the rest of a document."""
        if isinstance(corpus, StreamedCorpus):
            documents: Iterator[Document] = islice(corpus.documents(), self._n_held_out(corpus), None)
        else:
            documents = (document for document, split in self._documents(corpus) if split == "train")
        done = 0
        for document in documents:
            yield document.text
            done += len(document.text.encode())
            if done >= self.tokenizer_bytes:
                return

    def _beginning(self, corpus: StreamedCorpus) -> Iterator[tuple[Document, Split]]:
        """The held-out documents, dealt to val and test in the proportion of their shares."""
        for document in islice(corpus.documents(), self._n_held_out(corpus)):
            validation = self.validation_share / (self.validation_share + self.test_share)
            yield document, split_of(document.name, validation, 1.0)

    def _text_identity(self, corpus: Corpus) -> str:
        """What tells the training texts of two corpora apart."""
        begins = f" from {self._n_held_out(corpus)}" if isinstance(corpus, StreamedCorpus) else ""
        return corpus.identity + begins

    def _n_held_out(self, corpus: StreamedCorpus) -> int:
        return corpus.settings.held_out_documents if self.validation_share + self.test_share else 0
