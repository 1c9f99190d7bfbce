"""The trigram baseline against the definition, counted by hand and by a dictionary."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from deepseek_lab.data import trigram
from deepseek_lab.data.trigram import trigram_bits_per_byte


def by_definition(train, held_out):
    triples = Counter(zip(train, train[1:], train[2:], strict=False))
    pairs = Counter(pairwise(train[:-1]))
    bits = [
        -math.log2((triples[a, b, c] + 1) / (pairs[a, b] + 256))
        for a, b, c in zip(held_out, held_out[1:], held_out[2:], strict=False)
    ]
    return sum(bits) / len(bits)


def test_closed_form():
    # abcabc holds ab->c twice; the last bc->? is no context, since nothing follows it.
    assert trigram_bits_per_byte([b"abcabc"], [b"abc"]) == pytest.approx(math.log2(258 / 3))
    assert trigram_bits_per_byte([b"abcabc"], [b"abd"]) == pytest.approx(math.log2(258 / 1))
    assert trigram_bits_per_byte([], [b"abc"]) == 8.0
    assert trigram_bits_per_byte([b"abc", b"abc"], [b"abc", b"x", b"abd"]) == pytest.approx(
        (math.log2(258 / 3) + math.log2(258)) / 2
    )


@pytest.mark.parametrize("chunk", [5, 1 << 22])
def test_equals_the_definition_whatever_the_chunk(monkeypatch, chunk):
    monkeypatch.setattr(trigram, "CHUNK", chunk)
    generator = np.random.default_rng(0)
    train = generator.integers(250, 256, 40, dtype=np.uint8).tobytes()
    held_out = generator.integers(250, 256, 30, dtype=np.uint8).tobytes()
    assert trigram_bits_per_byte([train], [held_out]) == pytest.approx(by_definition(train, held_out))


def test_too_little_text_is_refused():
    with pytest.raises(ValueError, match="three held-out bytes"):
        trigram_bits_per_byte([b"abc"], [b"ab"])
