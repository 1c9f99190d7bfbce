"""Causal attention on a CPU, a few heads and a block of queries at a time.

Torch's CPU kernel works on small tiles and wants values as wide as keys, which MLA's are not. Here the
scores of some heads × 128 queries over all keys up to the block's end go through a handful of large
matrix products and torch's softmax while they are still in the cache. Nothing of size T×T is kept: the
backward recomputes the scores, as FlashAttention does (Dao et al. 2022, alg. 4):

    P = softmax(scale·q·kᵀ),  dV = Pᵀ·dO,  dS = P ⊙ (dO·Vᵀ - rowsum(dO ⊙ O)),  dQ = scale·dS·K,  dK = scale·dSᵀ·Q

Forward and backward take 0.63 of the padded torch kernel's time at 8 heads of 96 / 64 and T = 512, 0.85 at
2,048 (one core). Left out: masks, caches, other devices and 16-bit types, which `attend` gives to torch.

Shapes: B batch, T time, H query heads, G key-value heads, K query/key width, V value width; within a
block W queries, E keys (up to the block's end) and J heads.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import handle_torch_function, has_torch_function

_ROWS = 128  # queries a block: 64 and 256 are slower at T = 512, alike at 2,048
_HEADS = 4  # heads at a time: two cores' caches hold their scores


def blocked_causal_attention(q_BHTK: Tensor, k_BGTK: Tensor, v_BGTV: Tensor, scale: float) -> Tensor:
    """softmax(scale·q·kᵀ, causal)·v -> (B, H, T, V); H must be a multiple of G. Differentiable once.

    A TorchFunctionMode may stand in for it, as for torch's own kernels (planning counts what it keeps).
    """
    inputs = (q_BHTK, k_BGTK, v_BGTV)
    if has_torch_function(inputs):
        stand_in: Tensor = handle_torch_function(blocked_causal_attention, inputs, *inputs, scale)
        return stand_in
    out: Tensor = _BlockedCausalAttention.apply(q_BHTK, k_BGTK, v_BGTV, scale)  # type: ignore[no-untyped-call]
    return out


class _BlockedCausalAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q_BHTK: Tensor, k_BGTK: Tensor, v_BGTV: Tensor, scale: float) -> Tensor:
        out_BHTV = _zeros_by_time(q_BHTK, v_BGTV.shape[-1])
        scores = _Scores(q_BHTK, scale)
        for b, query_heads, key_heads in _head_groups(q_BHTK, k_BGTK):
            q, out = q_BHTK[b, query_heads], out_BHTV[b, query_heads]
            k, v = (x[b, key_heads].expand(len(q), -1, -1) for x in (k_BGTK, v_BGTV))
            for rows, end in _row_blocks(q_BHTK.shape[2]):
                torch.bmm(scores.probabilities(q[:, rows], k[:, :end]), v[:, :end], out=out[:, rows])
        ctx.save_for_backward(q_BHTK, k_BGTK, v_BGTV, out_BHTV)
        ctx.scale = scale
        return out_BHTV

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BHTV: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q_BHTK, k_BGTK, v_BGTV, out_BHTV = ctx.saved_tensors
        delta_BHT1 = torch.linalg.vecdot(grad_BHTV, out_BHTV).unsqueeze(-1)
        dq_BHTK, dk_BHTK, dv_BHTV = (_zeros_by_time(q_BHTK, x.shape[-1]) for x in (q_BHTK, k_BGTK, v_BGTV))
        scores, slopes = _Scores(q_BHTK, ctx.scale), _Scores(q_BHTK, 1.0)
        for b, query_heads, key_heads in _head_groups(q_BHTK, k_BGTK):
            q, grad, delta = (x[b, query_heads] for x in (q_BHTK, grad_BHTV, delta_BHT1))
            dq, dk, dv = (x[b, query_heads] for x in (dq_BHTK, dk_BHTK, dv_BHTV))
            k, v = (x[b, key_heads].expand(len(q), -1, -1) for x in (k_BGTK, v_BGTV))
            for rows, end in _row_blocks(q_BHTK.shape[2]):
                p = scores.probabilities(q[:, rows], k[:, :end])
                dv[:, :end].baddbmm_(p.mT, grad[:, rows])
                ds = slopes.products(grad[:, rows], v[:, :end]).sub_(delta[:, rows]).mul_(p)
                dq[:, rows].baddbmm_(ds, k[:, :end], beta=0, alpha=ctx.scale)
                dk[:, :end].baddbmm_(ds.mT, q[:, rows], alpha=ctx.scale)
        return dq_BHTK, _sum_shared(dk_BHTK, k_BGTK), _sum_shared(dv_BHTV, v_BGTV), None


class _Scores:
    """One buffer for the products of a block, used again and again."""

    def __init__(self, q_BHTK: Tensor, scale: float) -> None:
        self.buffer = q_BHTK.new_empty(q_BHTK.shape[1] * _ROWS * q_BHTK.shape[2])
        self.future = torch.full((_ROWS, _ROWS), float("-inf"), dtype=q_BHTK.dtype).triu_(1)
        self.scale = scale

    def products(self, x_JWK: Tensor, y_JEK: Tensor) -> Tensor:
        """scale · x·yᵀ, (J, W, E), over the buffer."""
        shape = (x_JWK.shape[0], x_JWK.shape[1], y_JEK.shape[1])
        out_JWE = self.buffer[: shape[0] * shape[1] * shape[2]].view(shape)
        return out_JWE.baddbmm_(x_JWK, y_JEK.mT, beta=0, alpha=self.scale)

    def probabilities(self, q_JWK: Tensor, k_JEK: Tensor) -> Tensor:
        """Causal softmax of the block whose last query stands at the last key, (J, W, E)."""
        p_JWE = self.products(q_JWK, k_JEK)
        width = q_JWK.shape[1]
        p_JWE[..., -width:] += self.future[:width, :width]
        return torch.softmax(p_JWE, -1, out=p_JWE)


def _row_blocks(time: int) -> Iterator[tuple[slice, int]]:
    """The queries of each block and the number of keys that they may see."""
    for start in range(0, time, _ROWS):
        end = min(start + _ROWS, time)
        yield slice(start, end), end


def _head_groups(q_BHTK: Tensor, k_BGTK: Tensor) -> Iterator[tuple[int, slice, slice]]:
    """(row, query heads, their key heads): some heads with a key head each, or all that share one."""
    batch, heads = q_BHTK.shape[:2]
    sharing = heads // k_BGTK.shape[1]
    step = sharing if sharing > 1 else _HEADS
    for b in range(batch):
        for start in range(0, heads, step):
            end = min(start + step, heads)
            yield b, slice(start, end), slice(start // sharing, (end - 1) // sharing + 1)


def _zeros_by_time(q_BHTK: Tensor, width: int) -> Tensor:
    """(B, H, T, width) zeros that lie by time first, like the projections around the attention."""
    batch, heads, time, _ = q_BHTK.shape
    return q_BHTK.new_zeros(batch, time, heads, width).transpose(1, 2)


def _sum_shared(grad_BHTX: Tensor, like_BGTX: Tensor) -> Tensor:
    """Adds up the gradients of the query heads that share a key head."""
    groups = like_BGTX.shape[1]
    return grad_BHTX if groups == grad_BHTX.shape[1] else grad_BHTX.unflatten(1, (groups, -1)).sum(2)
