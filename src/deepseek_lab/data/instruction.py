"""Instruction data: conversations as packed rows in which the assistant's tokens are marked.

Encoded once, into a folder of the cache under a hash of everything it depends on; a run after that maps it
into memory. Rows are packed when a run starts (a fraction of a second for 10,000 conversations), because
their length is a choice of the run.
"""

import io
import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.data.conversation import ChatFormat, ConversationCorpus, Turn
from deepseek_lab.data.conversation_packing import AnsweredSplit, PackedConversations
from deepseek_lab.data.corpus import SPLITS, Split, split_of
from deepseek_lab.data.preparation import Preparation, hash_of, kind_of, require_vocabulary
from deepseek_lab.data.row_data import RowData, RowDataConfig, Rows
from deepseek_lab.data.whole_folder import one_at_a_time, whole_folder
from deepseek_lab.text.reasoning import CLOSE, OPEN
from deepseek_lab.text.tokenizer import Tokenizer, TokenizerConfig

FORMAT = 2
SAMPLE_QUESTION = "What is 12 + 7?"


class InstructionData(RowData):
    """Batches of packed conversations."""

    @dataclass(frozen=True, kw_only=True)
    class Config(RowDataConfig):
        packing: bool = True  # false: one conversation a row
        kind: ClassVar[str] = "instructions"

        def build(self, tokenizer_config: TokenizerConfig, vocab_size: int, seed: int) -> "InstructionData":
            """Opens the encoded conversations, or makes them. Raises ConfigError, DataError, OSError."""
            tokenizer, folder, manifest = opened(self, tokenizer_config, vocab_size)
            pad = pad_id(tokenizer)
            splits: dict[Split, Rows] = {
                split: PackedConversations(open_split(folder, split), self.seq_len, pad, self.packing)
                for split in SPLITS
            }
            return InstructionData(self, tokenizer, manifest, splits, seed)

    def sample_prompt(self) -> list[int]:
        """A question for the text that is written at each validation."""
        return ChatFormat(self.tokenizer).prompt([Turn("user", SAMPLE_QUESTION)])


def opened(
    config: RowDataConfig, tokenizer_config: TokenizerConfig, vocab_size: int
) -> tuple[Tokenizer, Path, dict[str, Any]]:
    """Tokenizer, folder of the encoded conversations, and its manifest. Raises ConfigError, DataError, OSError."""
    require_vocabulary(tokenizer_config, vocab_size)
    config.check_with(tokenizer_config)
    corpus = config.corpus.build()
    if not isinstance(corpus, config.corpus_kind):
        raise ConfigError(f"must hold {config.kind}, not {kind_of(config.corpus)}", "data.corpus")
    tokenizer = preparation(config).tokenizer(tokenizer_config, {"corpus": corpus})
    folder, manifest = prepared(config, corpus, tokenizer)
    return tokenizer, folder, {**manifest, "left_out": list(corpus.notes)}


def pad_id(tokenizer: Tokenizer) -> int:
    """What fills a row up; a tokenizer without a padding token lends its end of text."""
    return tokenizer.special_ids.get(tokenizer.names.pad or "", tokenizer.eos_id)


def preparation(config: RowDataConfig) -> Preparation:
    """How a tokenizer is fitted to the training conversations."""
    return Preparation(
        cache=Path(config.cache_dir),
        validation_share=config.validation_share,
        test_share=config.test_share,
        fim_rate=0.0,
        punctuation_split_rate=0.0,
        tokenizer_bytes=config.tokenizer_bytes,
        n_workers=os.cpu_count() or 1,
    )


def prepared(config: RowDataConfig, corpus: ConversationCorpus, tokenizer: Tokenizer) -> tuple[Path, dict[str, Any]]:
    """The folder of the encoded conversations, made when it is not there, and its manifest."""
    depends_on = {
        "format": FORMAT,
        "corpus": kind_of(config.corpus),
        "content": corpus.identity,
        "tokenizer_hash": tokenizer.fingerprint(),
        "validation_share": float(config.validation_share),
        "test_share": float(config.test_share),
    }
    if {OPEN, CLOSE} <= tokenizer.special_ids.keys() and corpus.has_thoughts:
        depends_on["thoughts"] = "between their tokens"
    name = hash_of(depends_on)
    folder = Path(config.cache_dir) / "conversations" / name
    with one_at_a_time(Path(config.cache_dir) / "locks" / name):
        if not folder.exists():
            with whole_folder(folder) as partial:
                _make(partial, {"hash": name, **depends_on}, config, corpus, tokenizer)
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(f"{folder} is damaged: delete it and run again, it is made anew") from None
    return folder, manifest


def _make(
    folder: Path, about: dict[str, Any], config: RowDataConfig, corpus: ConversationCorpus, tokenizer: Tokenizer
) -> None:
    chat = ChatFormat(tokenizer)
    parts: dict[Split, list[Any]] = {split: [] for split in SPLITS}
    notes: Counter[str] = Counter()
    for one in corpus.conversations():
        split = split_of(one.split_name, config.validation_share, config.test_share)
        parts[split].append(chat.encode(one.turns))
        notes.update(one.notes)
    splits = {split: _save_split(folder, split, marked) for split, marked in parts.items()}
    content = {**about, "splits": splits, "notes": notes}
    (folder / "manifest.json").write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")


def _save_split(folder: Path, split: Split, marked: Iterable[Any]) -> dict[str, int]:
    """Writes the conversations of a split end to end; returns what it holds."""
    marked = list(marked)
    ids = np.concatenate([one.ids for one in marked] or [np.empty(0)]).astype(np.uint32)
    answer = np.concatenate([one.answer for one in marked] or [np.empty(0)]).astype(np.bool_)
    offsets = np.cumsum([0, *(len(one.ids) for one in marked)]).astype(np.int64)
    for name, array in (("ids", ids), ("answer", answer), ("offsets", offsets)):
        content = io.BytesIO()  # numpy's own writing does not know why a disk refuses
        np.save(content, array)
        (folder / f"{split}.{name}.npy").write_bytes(content.getbuffer())
    return {"conversations": len(marked), "tokens": len(ids), "answer_tokens": int(answer.sum())}


def open_split(folder: Path, split: Split) -> AnsweredSplit:
    """A split as memory maps. Raises DataError for a damaged file."""
    paths = [folder / f"{split}.{name}.npy" for name in ("ids", "answer", "offsets")]
    try:
        ids, answer, offsets = (np.load(path, mmap_mode="r") for path in paths)
    except (OSError, ValueError, EOFError):
        raise DataError(f"{folder} is damaged: delete it and run again, it is made anew") from None
    return AnsweredSplit(ids, answer, np.asarray(offsets))
