"""The caches of rows that come and go: one preallocated buffer a layer, its first rows the active ones.

A row that ends is replaced by the last, so that the active rows stay together and are decoded as one view. Buffers
grow by copying and are given back when no row is left. All rows have the room of the longest: paging would save
that, at the price of a gather in every attention. How much room is allowed is the caller's affair.
"""

from deepseek_lab.model.cache import Cache

_TOKENS_AT_ONCE = 64
"""Room is made in steps of as many tokens; a multiple of a cache line, so that every row begins on one."""


class RowCache:
    """One cache of rows; `rows` is what of it a model reads and writes."""

    def __init__(self, one: Cache) -> None:
        """one: a cache of one row and one token, whose kind the buffers have."""
        self.bytes_per_token = one.n_bytes
        self.lengths: list[int] = []
        self._empty = [layer[:0, :0] for layer in one.layers]
        self._layers = self._empty

    @property
    def n_bytes(self) -> int:
        """Bytes of the buffers."""
        return sum(layer.numel() * layer.element_size() for layer in self._layers)

    @property
    def room(self) -> tuple[int, int]:
        """Rows and tokens a row that the buffers hold."""
        rows, tokens = self._layers[0].shape[:2]
        return rows, tokens

    def bytes_of(self, rows: int, tokens: int) -> int:
        """What buffers for so many rows of so many tokens take."""
        return rows * _rounded(tokens) * self.bytes_per_token

    def make_room(self, rows: int, tokens: int) -> None:
        """New buffers for so many rows, the active ones included, of so many tokens."""
        tokens, n, kept = _rounded(tokens), len(self.lengths), max(self.lengths, default=0)
        grown = [layer.new_zeros(rows, tokens, *layer.shape[2:]) for layer in self._layers]
        for new, old in zip(grown, self._layers, strict=True):
            new[:n, :kept] = old[:n, :kept]
        self._layers = grown

    def append(self, source: Cache, row: int, copies: int) -> None:
        """Takes a row of another cache in, so many times."""
        start, length = len(self.lengths), source.lengths[row]
        for layer, given in zip(self._layers, source.layers, strict=True):
            layer[start : start + copies, :length] = given[row, :length]
        self.lengths += [length] * copies

    def remove(self, row: int) -> None:
        """Drops a row; the last one takes its place."""
        last = len(self.lengths) - 1
        length = self.lengths.pop()
        for layer in self._layers:
            layer[row].zero_()  # a NaN left behind would reach the next row through a masked slot: 0 · NaN
        if row != last:
            for layer in self._layers:
                layer[row, :length] = layer[last, :length]
            self.lengths[row] = length
        if not self.lengths:
            self._layers = self._empty

    def rows(self, start: int, stop: int) -> Cache:
        """Active rows as a cache that a model reads and writes; `advance` then tells how far it came."""
        return Cache.over([layer[start:stop] for layer in self._layers], self.lengths[start:stop])

    def advance(self, start: int, cache: Cache) -> None:
        """Takes the lengths over that `rows` has after a forward."""
        self.lengths[start : start + len(cache.lengths)] = cache.lengths


def _rounded(tokens: int) -> int:
    return -(-tokens // _TOKENS_AT_ONCE) * _TOKENS_AT_ONCE
