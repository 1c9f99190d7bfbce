"""The baseline that a language model must beat: an add-one trigram model over bytes.

P(c | a, b) = (n(abc) + 1) / (n(ab·) + 256), with n counted on the training bytes (Laplace smoothing;
Chen & Goodman 1999 §2.1). In bits per byte it compares with any network, whatever its vocabulary.
Left out: back-off and interpolation, which would be a better model and a less plain one.
"""

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 22


def _trigrams(text: bytes) -> NDArray[np.int32]:
    """(n-2,) every three bytes in a row as one number abc in base 256."""
    byte = np.frombuffer(text, dtype=np.uint8).astype(np.int32)
    return (byte[:-2] << 16) | (byte[1:-1] << 8) | byte[2:]


def _counts(text: bytes) -> NDArray[np.int64]:
    """(256, 256, 256) how often each three bytes follow each other; in chunks, to bound the memory."""
    counts = np.zeros(1 << 24, dtype=np.int64)
    for start in range(0, max(len(text) - 2, 0), CHUNK):
        counts += np.bincount(_trigrams(text[start : start + CHUNK + 2]), minlength=1 << 24)
    return counts


def trigram_bits_per_byte(train_bytes: bytes, held_out_bytes: bytes) -> float:
    """Mean -log2 P of the held-out bytes from the third on, under counts of the training bytes.

    Raises ValueError when fewer than three bytes are held out.
    """
    if len(held_out_bytes) < 3:
        raise ValueError(f"a trigram needs three held-out bytes, not {len(held_out_bytes)}")
    counts = _counts(train_bytes)
    seen = _trigrams(held_out_bytes)
    pair_counts = counts.reshape(-1, 256).sum(axis=1)
    bits = np.log2(pair_counts[seen >> 8] + 256.0) - np.log2(counts[seen] + 1.0)
    return float(bits.mean())
