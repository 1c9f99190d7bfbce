"""The baseline that a language model must beat: an add-one trigram model over bytes.

P(c | a, b) = (n(abc) + 1) / (n(ab·) + 256), with n counted on the training bytes (Laplace smoothing;
Chen & Goodman 1999 §2.1). In bits per byte it compares with any network, whatever its vocabulary.
Left out: back-off and interpolation, which would be a better model and a less plain one.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 22


def _trigrams(text: bytes) -> NDArray[np.int32]:
    """(n-2,) every three bytes in a row as one number abc in base 256."""
    byte = np.frombuffer(text, dtype=np.uint8).astype(np.int32)
    return (byte[:-2] << 16) | (byte[1:-1] << 8) | byte[2:]


def _counts(texts: Iterable[bytes]) -> NDArray[np.int64]:
    """(256, 256, 256) how often each three bytes follow each other; in chunks, to bound the memory."""
    counts = np.zeros(1 << 24, dtype=np.int64)
    for text in texts:
        for start in range(0, max(len(text) - 2, 0), CHUNK):
            counts += np.bincount(_trigrams(text[start : start + CHUNK + 2]), minlength=1 << 24)
    return counts


def trigram_bits_per_byte(train_texts: Iterable[bytes], held_out_texts: Iterable[bytes]) -> float:
    """Mean -log2 P of the bytes of each held-out text from the third on, under counts of the training texts.

    Raises ValueError when no held-out text has three bytes.
    """
    counts = _counts(train_texts)
    pair_counts = counts.reshape(-1, 256).sum(axis=1)
    total, n_bytes = 0.0, 0
    for text in held_out_texts:
        seen = _trigrams(text) if len(text) >= 3 else np.empty(0, dtype=np.int32)
        total += float((np.log2(pair_counts[seen >> 8] + 256.0) - np.log2(counts[seen] + 1.0)).sum())
        n_bytes += len(seen)
    if not n_bytes:
        raise ValueError("a trigram needs three held-out bytes in a row")
    return total / n_bytes
