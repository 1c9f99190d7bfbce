"""Texts to token ids on several threads, in order and with bounded memory.

The `tokenizers` library releases the interpreter's lock while it encodes, so threads are enough: no
processes to start, nothing to pickle. Its own thread pool cannot be sized per call; it is switched off
here and `n_workers` threads take its place.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

from deepseek_lab.text.tokenizer import Tokenizer

TEXTS_PER_CALL = 16
CALLS_AHEAD = 4


@contextmanager
def own_threads() -> Iterator[None]:
    """Inside, `tokenizers` starts no threads of its own."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before


def encode_all(tokenizer: Tokenizer, texts: Iterable[str], n_workers: int) -> Iterator[list[int]]:
    """The ids of each text, in order. At most a few batches a worker are held at once."""
    rest = iter(texts)
    pending: deque[Future[list[list[int]]]] = deque()
    with own_threads(), ThreadPoolExecutor(n_workers) as pool:
        while batch := list(islice(rest, TEXTS_PER_CALL)):
            pending.append(pool.submit(tokenizer.encode_batch, batch))
            if len(pending) > n_workers * CALLS_AHEAD:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
