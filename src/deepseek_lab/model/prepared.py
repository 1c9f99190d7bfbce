"""A model's weights as decoding reads them: what is worth making once for thousands of steps that read them again.

How quickly a CPU multiplies a few rows with a matrix is a question of layout (MKL and oneDNN on Zen 3, one core):
- three rows and more are 1.2 to 2 times as quick with a matrix in oneDNN's own blocked order (`packed`);
- a model that fits the processor's cache is read from there, and wants plain products: every other form only costs.
What else a module wants to lay out anew it makes through `kept`.

A copy is true as long as the weights do not change: whoever decodes makes a `Prepared` when it starts and drops it at
the end. Copies cost as much memory as the weights, so a large model gets none.

Shapes: I input width, O output width.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

_Layout = TypeVar("_Layout")

_CACHED_BYTES = 8 * 2**20
"""Of weights that stay in the processor's cache from step to step."""
_MOST_BYTES = 2**30
"""Of weights that may be copied."""
_WORTH_PACKING = 2**16
"""Numbers of a matrix above which a packed product is the quicker one; calling it costs 10 µs more."""
_PACKED_AFTER = 4
"""Products with a matrix until it is packed, which takes as long as some ten of them."""


class Prepared:
    """Copies of weights in other layouts, by the weight.

    streams: whether the weights come from memory anew at each step, being too many for the processor's cache
    keeps: whether copies are kept; not where weights may change from one step to the next
    packs: whether matrices are packed once they are worth it; not where the same product must give the same bits
        early and late
    """

    def __init__(self, *, streams: bool = True, keeps: bool = False, packs: bool = False) -> None:
        self.streams, self.keeps = streams, keeps
        self.packs = packs and keeps and streams and torch.backends.mkldnn.is_available()
        self._uses: dict[int, int] = {}
        self._kept: dict[tuple[int, str], tuple[Tensor, Any]] = {}

    @classmethod
    def of(cls, model: nn.Module, packs: bool = True) -> "Prepared":
        """For decoding with a model whose weights stay as they are."""
        n_bytes = sum(weight.numel() * weight.element_size() for weight in model.parameters())
        return cls(streams=n_bytes > _CACHED_BYTES, keeps=n_bytes <= _MOST_BYTES, packs=packs)

    def kept(self, weight: Tensor, layout: str, make: Callable[[], _Layout]) -> _Layout:
        """A weight in a layout of this name, made at the first call; where nothing is kept it is made at each."""
        if not self.keeps:
            return make()
        key = id(weight), layout
        if key not in self._kept:
            # The weight is held beside it: another could else come to lie at the same address.
            self._kept[key] = weight, make()
        found: _Layout = self._kept[key][1]
        return found

    def packed(self, weight_OI: Tensor) -> Tensor | None:
        """A matrix for oneDNN's products of three rows and more; None where a plain one is the better choice."""
        if not self.packs or weight_OI.numel() <= _WORTH_PACKING or weight_OI.dtype != torch.float32:
            return None
        uses = self._uses.get(id(weight_OI), 0)
        if uses < _PACKED_AFTER:
            self._uses[id(weight_OI)] = uses + 1
            return None
        made: Tensor = self.kept(weight_OI, "packed", lambda: _in_blocks(weight_OI))
        return made


def _in_blocks(weight_OI: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight_OI.detach(), 8)  # 8: rows that it is made for
    return packed
