"""What autograd keeps of a forward pass for its backward, counted and not estimated.

The built network runs on fake tensors (shapes and dtypes without numbers: a forward of 671B parameters takes
a few seconds and no memory), and every storage that is still in use behind it counts, once, whoever holds it.
So the count follows the module: another attention, a precision laid over it or recomputation changes it by
itself. Copies that autocast makes of weights are told apart from activations.

Kernels are taken as an accelerator has them: attention keeps its inputs, its result and one number a row; RMSNorm
its input and one number a row. Left out: what one operation needs for a moment.

Shapes: B batch, T time, S keys, H query heads, G key-value heads, K query/key width, V value width; N rows.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from deepseek_lab.model.attention.blocked import blocked_causal_attention
from deepseek_lab.model.attention.segments import Segment, segment_attention
from deepseek_lab.model.positions import segments_of
from deepseek_lab.model.rope import rotation_table


def fake_tensors() -> AbstractContextManager[Any]:
    """Inside, every new tensor has a shape, a dtype and a device, but no numbers and no memory."""
    return FakeTensorMode()


def make_fake(model: nn.Module) -> None:
    """Replaces the parameters and buffers of a model built on `meta` by fake ones of the CPU, in place, ties kept.

    Called inside `fake_tensors()`. The model is built before, because modules that change their own dtype cannot do
    so with fake parameters.
    """
    made: dict[int, Tensor] = {}
    for module in model.modules():
        for store in (module._parameters, module._buffers):
            for name, old in store.items():
                if old is not None:
                    store[name] = made.setdefault(id(old), _fake_of(old))  # type: ignore[assignment]


def _fake_of(tensor: Tensor) -> Tensor:
    empty = torch.empty(tensor.shape, dtype=tensor.dtype)
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


@dataclass(frozen=True)
class Kept:
    """Bytes that wait for the backward: activations, and copies of weights in a narrower format."""

    activations: int
    weight_copies: int


def kept_for_backward(forward: Callable[[], Any], parameters: Iterable[Tensor]) -> Kept:
    """Runs `forward` and counts what is left of it while its result is alive. The parameters count as nothing."""
    ledger = _Ledger({_key(parameter) for parameter in parameters})
    with ledger:
        alive = forward()
    kept = ledger.left()
    del alive
    return kept


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


class _Ledger(TorchDispatchMode):
    """Notes every storage that an operation makes, without keeping it alive, and which are copies of weights."""

    def __init__(self, weights: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.weights = weights
        self.made: dict[StorageWeakRef, int] = {}
        self.copies: set[StorageWeakRef] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {_key(x) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and _key(tensor) not in given:
                storage = tensor.untyped_storage()
                self.made[StorageWeakRef(storage)] = storage.nbytes()
        if func is torch.ops.aten._to_copy.default and _key(args[0]) in self.weights:
            self.copies.add(StorageWeakRef(result.untyped_storage()))
        return result

    def left(self) -> Kept:
        """The bytes of the storages that are still in use."""
        used = {ref: n_bytes for ref, n_bytes in self.made.items() if not ref.expired()}
        copied = sum(n_bytes for ref, n_bytes in used.items() if ref in self.copies)
        return Kept(sum(used.values()) - copied, copied)


class FusedKernels(TorchFunctionMode):
    """Stands in for fused kernels by what they keep; their results hold no numbers, so never train through it."""

    def __init__(self, on_accelerator: bool) -> None:
        super().__init__()
        self.on_accelerator = on_accelerator

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (F.scaled_dot_product_attention, blocked_causal_attention):
            keeps_sums = self.on_accelerator or func is F.scaled_dot_product_attention
            return _Attention.apply(  # type: ignore[no-untyped-call]
                *map(_as_autocast, args[:3]), kwargs.get("attn_mask"), keeps_sums
            )
        if func is segment_attention:
            by_head = (_as_autocast(x).transpose(0, 1)[None] for x in args[:3])
            return _Attention.apply(*by_head, None, False)[0].transpose(0, 1)  # type: ignore[no-untyped-call]
        if func is segments_of:
            return self._one_document_a_row(args[0])
        if func is F.rms_norm:
            return _Norm.apply(args[0], kwargs["weight"])  # type: ignore[no-untyped-call]
        if func in (F.grouped_mm, torch._grouped_mm):
            return _GroupedProduct.apply(args[0], args[1], kwargs["offs"])  # type: ignore[no-untyped-call]
        if func is rotation_table:
            _, rope_dim, positions_BT = args
            return positions_BT.new_empty(*positions_BT.shape, rope_dim // 2, dtype=torch.complex64)
        if func is F.pad and self.on_accelerator:
            return args[0]  # only the attention kernel of a CPU wants its values padded
        return func(*args, **kwargs)

    def _one_document_a_row(self, document_BT: Tensor) -> tuple[Segment, ...] | None:
        """Where the model makes segments of documents; what it keeps does not depend on how many."""
        if self.on_accelerator or torch.is_autocast_enabled("cpu"):
            return None
        time = document_BT.shape[1]
        return tuple(Segment(start, start + time) for start in range(0, document_BT.numel(), time))


def _as_autocast(tensor: Tensor) -> Tensor:
    """`tensor` as an operation on autocast's list receives it."""
    return tensor.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else tensor


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q_BHTK: Tensor, k_BGSK: Tensor, v_BGSV: Tensor, mask_BTS: Tensor | None, keeps_sums: bool
    ) -> Tensor:
        batch, heads, time, _ = q_BHTK.shape
        out_BHTV = q_BHTK.new_empty(batch, time, heads, v_BGSV.shape[-1]).transpose(1, 2)
        log_sum_BHT = q_BHTK.new_empty(batch, heads, time, dtype=torch.float32) if keeps_sums else None
        # Torch makes an additive mask of a boolean one, anew in every layer.
        added_BTS = None if mask_BTS is None else q_BHTK.new_empty(mask_BTS.shape)
        ctx.save_for_backward(q_BHTK, k_BGSK, v_BGSV, out_BHTV, added_BTS, log_sum_BHT)
        return out_BHTV


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, weight_D: Tensor) -> Tensor:
        ctx.save_for_backward(x_ND, weight_D, x_ND.new_empty(*x_ND.shape[:-1], 1, dtype=torch.float32))
        return torch.empty_like(x_ND)


class _GroupedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, weight_EDO: Tensor, offsets_E: Tensor) -> Tensor:
        ctx.save_for_backward(x_ND, weight_EDO, offsets_E)
        return x_ND.new_empty(x_ND.shape[0], weight_EDO.shape[-1])
