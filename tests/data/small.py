"""A small corpus in a folder, and data made from it."""

import random

from deepseek_lab.data.pretrain import PretrainData
from deepseek_lab.data.standard_library import StandardLibrary
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


def build(folder, seed=1, **changes):
    """The data, over bytes."""
    return config(folder, **changes).build(Bytes.Config(), VOCABULARY, seed)
