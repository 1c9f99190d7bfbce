"""Random draws that belong to a document: the same on every machine, in every order, for every seed.

What is decided while text becomes tokens stands in token files that all seeds share, so it may depend on
nothing but the document itself.
"""

import hashlib

import numpy as np

from deepseek_lab.data.corpus import Document


def draws_of(document: Document, purpose: str) -> np.random.Generator:
    """A generator for one document and one use of it."""
    whole = hashlib.sha256()
    for part in (purpose, document.name, document.text):
        whole.update(hashlib.sha256(part.encode()).digest())
    return np.random.default_rng(int.from_bytes(whole.digest()[:16], "big"))
