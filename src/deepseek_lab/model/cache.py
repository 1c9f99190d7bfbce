"""The key-value cache: one preallocated buffer a layer, rows that may differ in length.

Each attention says which numbers it keeps for a token (`cache_shape`): MHA, GQA and MQA keys and
values, MLA only the latent and the shared rope key (V2 §2.1.2). Slot s of a row holds the token at
position s of that row, so padding is never stored and a query at position p may read slots 0..p.
The Transformer alone moves the positions; a layer only writes where it is told.

Left out: paging and shared prefixes; they belong to a generation engine.

Shapes: B rows, L capacity in tokens.
"""

import torch
from torch import Tensor


class Cache:
    """Buffers of `capacity` tokens for `batch` rows and the number of tokens each row holds."""

    def __init__(
        self,
        layer_shapes: list[tuple[int, ...]],
        batch: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.capacity = capacity
        self.lengths = [0] * batch
        # Zeros, not empty memory: a masked slot still takes part in 0 · value, and 0 · NaN is NaN.
        self.layers = [torch.zeros(batch, capacity, *shape, dtype=dtype, device=device) for shape in layer_shapes]

    @classmethod
    def over(cls, layers: list[Tensor], lengths: list[int]) -> "Cache":
        """A cache of (B, L, …) buffers that stand already; what it writes, their owner sees."""
        made = cls([], len(lengths), layers[0].shape[1], layers[0].dtype, layers[0].device)
        made.layers, made.lengths = layers, lengths
        return made

    @property
    def n_bytes(self) -> int:
        """Bytes of all buffers."""
        return sum(layer.numel() * layer.element_size() for layer in self.layers)

    @property
    def is_empty(self) -> bool:
        return not any(self.lengths)

    @property
    def is_uniform(self) -> bool:
        """Whether every row holds equally many tokens."""
        return len(set(self.lengths)) == 1

    def require_room(self, counts: list[int]) -> None:
        """Raises ValueError when `counts` more tokens a row do not fit."""
        needed = max(length + count for length, count in zip(self.lengths, counts, strict=True))
        if needed > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} tokens a row, {needed} are needed")


def write_tokens(layer_BL: Tensor, new_BT: Tensor, slots_BT: Tensor | None, keep_BT: Tensor | None, start: int) -> None:
    """Stores (B, T, …) numbers in a layer's (B, L, …) buffer.

    With `slots_BT` None every row writes at `start`; otherwise each token at its own slot, and only
    tokens where `keep_BT` is True (padding is dropped).
    """
    new_BT = new_BT.to(layer_BL.dtype)
    if slots_BT is None:
        layer_BL[:, start : start + new_BT.shape[1]] = new_BT
        return
    rows_BT = torch.arange(slots_BT.shape[0], device=slots_BT.device)[:, None].expand_as(slots_BT)
    if keep_BT is None:
        layer_BL[rows_BT, slots_BT] = new_BT
    else:
        layer_BL[rows_BT[keep_BT], slots_BT[keep_BT]] = new_BT[keep_BT]
