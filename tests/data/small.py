"""A small corpus in a folder, and data made from it."""

import random

from deepseek_lab.data.corpus import Document
from deepseek_lab.data.pretrain import PretrainData
from deepseek_lab.data.standard_library import StandardLibrary
from deepseek_lab.data.stream import StreamedCorpus, StreamSettings
from deepseek_lab.text.tokenizer import SMALLEST_VOCABULARY, Bytes

VOCABULARY = SMALLEST_VOCABULARY


def write_corpus(folder, n_files=60, seed=0):
    """Python files of 1 to 120 bytes."""
    generator = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n_files):
        text = "".join(generator.choices("abcdé = \n", k=generator.randint(1, 100)))
        (folder / f"file_{number:03d}.py").write_text(text, encoding="utf-8", newline="")
    return folder


def config(folder, **changes):
    """A config over the files of `folder / "text"`, with its cache in `folder / "cache"`."""
    settings = {
        "corpus": StandardLibrary.Config(folder=str(folder / "text")),
        "cache_dir": str(folder / "cache"),
        "seq_len": 16,
        "batch_size": 8,
        "validation_share": 0.2,
        "test_share": 0.2,
        "n_workers": 2,
    }
    return PretrainData.Config(**(settings | changes))


def token_files(folder, tokenizer=None, **changes):
    """The token files of the corpus, made if they are not there; over bytes, unless another tokenizer is given."""
    return config(folder, **changes).sources(tokenizer or Bytes.Config(), 1)["corpus"].files


def build(folder, seed=1, **changes):
    """The data, over bytes."""
    return config(folder, **changes).build(Bytes.Config(), VOCABULARY, seed)


class ListStream(StreamedCorpus):
    """A stream over given documents, that counts how many were read."""

    identity = name = "list"

    def __init__(self, texts, held_out_documents=0, shard_tokens=20, window_shards=2, keep_shards=None):
        self.texts = texts
        self.read = 0
        self.settings = StreamSettings(held_out_documents, shard_tokens, window_shards, keep_shards)

    def reader(self, position=None):
        return ListReader(self, (position or {"number": 0})["number"])


class ListReader:
    def __init__(self, corpus, number):
        self.corpus, self.number = corpus, number

    def __iter__(self):
        return self

    def __next__(self):
        if self.number == len(self.corpus.texts):
            raise StopIteration
        self.number += 1
        self.corpus.read += 1
        return Document(str(self.number - 1), self.corpus.texts[self.number - 1])

    def position(self):
        return {"number": self.number}
