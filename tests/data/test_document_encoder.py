"""Documents come out in order with their own parts, whatever the threads, and few are held at once."""

import numpy as np
import pytest

from deepseek_lab.data.corpus import Document
from deepseek_lab.data.document_encoder import DocumentEncoder
from deepseek_lab.text.tokenizer import BytePairEncoding, Bytes

DOCUMENTS = [(Document(str(n), f"a{n}).\n" * (n % 5)), ("train", "val", "test")[n % 3]) for n in range(1, 200)]


@pytest.fixture(scope="module")
def tokenizer():
    return BytePairEncoding.Config(vocab_size=290, pre_tokenizer="deepseek_v3").build(d.text for d, _ in DOCUMENTS)


@pytest.mark.parametrize("n_workers", [1, 3])
def test_each_document_is_what_it_is_alone(tokenizer, n_workers):
    rates = {"fim_rate": 0.5, "punctuation_split_rate": 0.5}
    together = list(DocumentEncoder(tokenizer, **rates, n_workers=n_workers).encode(DOCUMENTS))
    alone = [next(DocumentEncoder(tokenizer, **rates).encode([pair])) for pair in DOCUMENTS]
    for ours, theirs, (document, split) in zip(together, alone, DOCUMENTS, strict=True):
        assert np.array_equal(ours.ids, theirs.ids)
        assert (ours.split, ours.n_bytes) == (split, len(document.text.encode()))
        assert len(tokenizer.to_bytes(ours.ids)) == ours.n_bytes
        if split != "train":
            assert ours.ids.tolist() == [*tokenizer.encode(document.text), tokenizer.eos_id]


def test_documents_are_taken_as_needed():
    taken = 0

    def documents():
        nonlocal taken
        for number in range(2000):
            taken += 1
            yield Document(str(number), "text"), "train"

    next(DocumentEncoder(Bytes.Config().build(), fim_rate=0.5).encode(documents()))
    assert taken < 200
