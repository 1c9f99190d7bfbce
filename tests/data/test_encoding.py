"""Encoding on threads gives what encoding one by one gives."""

import os

import pytest

from deepseek_lab.data.encoding import TEXTS_PER_CALL, encode_all
from deepseek_lab.text.tokenizer import Bytes


@pytest.mark.parametrize("n_texts", [0, 1, TEXTS_PER_CALL, 40 * TEXTS_PER_CALL + 3])
@pytest.mark.parametrize("n_workers", [1, 3])
def test_order_and_content_are_kept(n_texts, n_workers):
    texts = [f"text {number}" for number in range(n_texts)]
    ids = list(encode_all(Bytes.Config().build(), texts, n_workers))
    assert ids == [list(text.encode()) for text in texts]


@pytest.mark.parametrize("before", [None, "true"])
def test_the_setting_of_the_library_is_given_back(monkeypatch, before):
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    if before:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", before)
    list(encode_all(Bytes.Config().build(), ["a"], 1))
    assert os.environ.get("TOKENIZERS_PARALLELISM") == before


def test_texts_are_taken_as_needed():
    taken = 0

    def texts():
        nonlocal taken
        for _ in range(100 * TEXTS_PER_CALL):
            taken += 1
            yield "text"

    next(encode_all(Bytes.Config().build(), texts(), 1))
    assert taken < 10 * TEXTS_PER_CALL
