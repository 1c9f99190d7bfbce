"""Causal attention inside segments of one long row, some of which see the tokens of another segment first.

Documents packed side by side are segments that see nothing else. The answers to one prompt are segments that all
see the prompt: its keys and values stand there once, with gradient, and each answer's queries meet them in a product
of (answers' tokens × prompt) beside their own triangle; nothing of size (P + G·C)² is computed or kept:

    S = scale·[Q·K_beforeᵀ, Q·K_ownᵀ + causal],  P = softmax(S),  O = P_before·V_before + P_own·V_own

On a CPU a block of queries and a few heads at a time, as `blocked` does it and with the same backward (Dao et al. 2022,
alg. 4). Elsewhere, and in 16 bits, torch's kernel takes each segment with the keys it sees.

Shapes: N tokens of the row, H query heads, G key-value heads, K query/key width, V value width; within a block
W queries, E keys, J heads.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import handle_torch_function, has_torch_function

_ROWS = 128  # queries a block
_HEADS = 4  # heads at a time


@dataclass(frozen=True)
class Segment:
    """Tokens start..end of a row: each sees those of its segment up to itself, and before them all of `before`."""

    start: int
    end: int
    before: tuple[int, int] = (0, 0)


def cut_segments(segments: Sequence[Segment], time: int, length: int) -> tuple[Segment, ...]:
    """Of segments within rows of `time` tokens what lies in the first `length` of each row; none may see another."""
    made = []
    for segment in segments:
        row, start = divmod(segment.start, time)
        end = min(segment.end - row * time, length)
        if start < end:
            made.append(Segment(row * length + start, row * length + end))
    return tuple(made)


def segment_attention(q_NHK: Tensor, k_NGK: Tensor, v_NGV: Tensor, segments: Sequence[Segment], scale: float) -> Tensor:
    """softmax(scale·q·kᵀ)·v over what each token sees -> (N, H, V); 0 for tokens of no segment.

    H must be a multiple of G; segments do not overlap. Differentiable once. A TorchFunctionMode may stand in for it.
    """
    inputs = (q_NHK, k_NGK, v_NGV)
    if has_torch_function(inputs):
        stand_in: Tensor = handle_torch_function(segment_attention, inputs, *inputs, segments, scale)
        return stand_in
    if _suits_blocks(q_NHK):
        out: Tensor = _SegmentAttention.apply(q_NHK, k_NGK, v_NGV, blocks(segments), scale)  # type: ignore[no-untyped-call]
        return out
    return _one_by_one(q_NHK, k_NGK, v_NGV, segments, scale)


def _suits_blocks(q_NHK: Tensor) -> bool:
    """In full precision on a CPU; autocast would send the products of the blocks to 16 bits."""
    wide = q_NHK.dtype in (torch.float32, torch.float64)
    return q_NHK.device.type == "cpu" and wide and not torch.is_autocast_enabled("cpu")


def _one_by_one(q_NHK: Tensor, k_NGK: Tensor, v_NGV: Tensor, segments: Sequence[Segment], scale: float) -> Tensor:
    """Each segment in torch's kernel, its last query at the last key."""
    out_NHV = torch.zeros((*q_NHK.shape[:2], v_NGV.shape[2]), dtype=v_NGV.dtype, device=q_NHK.device)
    shared = q_NHK.shape[1] != k_NGK.shape[1]
    for segment in segments:
        own, before = slice(segment.start, segment.end), slice(*segment.before)
        k, v = (torch.cat((x[before], x[own])).transpose(0, 1) for x in (k_NGK, v_NGV))
        q = q_NHK[own].transpose(0, 1)
        seen = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool, device=q.device).tril_(k.shape[1] - q.shape[1])
        y = F.scaled_dot_product_attention(q[None], k[None], v[None], seen, scale=scale, enable_gqa=shared)
        place_N = torch.arange(segment.start, segment.end, device=q.device)
        out_NHV = out_NHV.index_copy(0, place_N, y[0].transpose(0, 1))
    return out_NHV


@dataclass(frozen=True)
class Part:
    """Queries of one segment: their rows in the block, the first of its own keys, and how many they may see."""

    rows: slice
    own: slice


@dataclass(frozen=True)
class Block:
    """Queries in a row that see the same keys `before` their own."""

    queries: slice
    before: slice
    parts: tuple[Part, ...]

    @property
    def n_before(self) -> int:
        """Keys before."""
        return int(self.before.stop - self.before.start)

    @property
    def n_own(self) -> int:
        """Own keys of the part that sees most of them."""
        return max(int(part.own.stop - part.own.start) for part in self.parts)


def blocks(segments: Sequence[Segment]) -> list[Block]:
    """Short neighbours that see the same keys share a block, a long segment is cut into several."""
    made: list[Block] = []
    for segment in segments:
        for start in range(segment.start, segment.end, _ROWS):
            end = min(start + _ROWS, segment.end)
            own, before, last = slice(segment.start, end), slice(*segment.before), made[-1] if made else None
            if last is not None and _joins(last, before, start, end):
                first = last.queries.start
                part = Part(slice(start - first, end - first), own)
                made[-1] = Block(slice(first, end), before, (*last.parts, part))
            else:
                made.append(Block(slice(start, end), before, (Part(slice(0, end - start), own),)))
    return made


def _joins(last: Block, before: slice, start: int, end: int) -> bool:
    """Whether queries go into the block behind which they stand; it pays where they share keys."""
    fits = last.queries.stop == start and end - last.queries.start <= _ROWS
    return fits and last.before == before and last.n_before > 0


class _SegmentAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q_NHK: Tensor, k_NGK: Tensor, v_NGV: Tensor, blocks: list[Block], scale: float) -> Tensor:
        out_NHV = v_NGV.new_zeros(*q_NHK.shape[:2], v_NGV.shape[2])
        scores = _Buffer(blocks, q_NHK)
        for block, (q, out), (k, v) in _walk(blocks, (q_NHK, out_NHV), (k_NGK, v_NGV)):
            _mix(block, scores.probabilities(block, q, k, scale), v, out)
        ctx.save_for_backward(q_NHK, k_NGK, v_NGV, out_NHV)
        ctx.blocks, ctx.scale = blocks, scale
        return out_NHV

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NHV: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q_NHK, k_NGK, v_NGV, out_NHV = ctx.saved_tensors
        delta_NH1 = torch.linalg.vecdot(grad_NHV, out_NHV).unsqueeze(-1)
        dq_NHK, dk_NHK = q_NHK.new_zeros(q_NHK.shape), q_NHK.new_zeros(q_NHK.shape)
        dv_NHV = v_NGV.new_zeros(out_NHV.shape)
        scores, slopes = _Buffer(ctx.blocks, q_NHK), _Buffer(ctx.blocks, q_NHK)
        by_query, by_key = (q_NHK, dq_NHK, grad_NHV, delta_NH1), (k_NGK, v_NGV)
        for block, (q, dq, grad, delta), (k, v), (dk, dv) in _walk(ctx.blocks, by_query, by_key, (dk_NHK, dv_NHV)):
            p = scores.probabilities(block, q, k, ctx.scale)
            _spread(block, p, grad, dv, 1.0)
            ds = slopes.products(block, grad, v, 1.0, 0.0).sub_(delta).mul_(p)
            _mix(block, ds, k, dq, ctx.scale)
            _spread(block, ds, q, dk, ctx.scale)
        return dq_NHK, _sum_shared(dk_NHK, k_NGK), _sum_shared(dv_NHV, v_NGV), None, None


def _walk(blocks: list[Block], by_query: Sequence[Tensor], *by_key: Sequence[Tensor]) -> Iterator[Any]:
    """Each block with some heads of its queries' rows (J, W, …), and the same heads of all keys (J, N, …)."""
    heads = by_query[0].shape[1]
    sharing = heads // by_key[0][0].shape[1]
    step = sharing if sharing > 1 else _HEADS
    for start in range(0, heads, step):
        some = slice(start, min(start + step, heads))
        keys = [[_heads_of(x, some, heads) for x in each] for each in by_key]
        queries = [x[:, some].transpose(0, 1) for x in by_query]
        for block in blocks:
            yield block, [x[:, block.queries] for x in queries], *keys


def _heads_of(x_NGX: Tensor, some: slice, heads: int) -> Tensor:
    """(J, N, X) the keys that some query heads read: a key head each, or all the same one."""
    sharing = heads // x_NGX.shape[1]
    own = slice(some.start // sharing, (some.stop - 1) // sharing + 1)
    return x_NGX[:, own].transpose(0, 1).expand(some.stop - some.start, -1, -1)


class _Buffer:
    """Room for the products of the largest block, used again and again: (J, W, E), keys before first, then own."""

    def __init__(self, blocks: list[Block], like_NHX: Tensor) -> None:
        largest = max((b.queries.stop - b.queries.start) * (b.n_before + b.n_own) for b in blocks)
        self.memory = like_NHX.new_empty(like_NHX.shape[1] * largest)
        self.future = torch.full((_ROWS, _ROWS), float("-inf"), dtype=like_NHX.dtype).triu_(1)

    def products(self, block: Block, x_JWX: Tensor, y_JNX: Tensor, scale: float, filling: float) -> Tensor:
        """scale·x·yᵀ with the keys that the block's queries see; `filling` where a part sees fewer than another."""
        shape = (*x_JWX.shape[:2], block.n_before + block.n_own)
        out_JWE = self.memory[: shape[0] * shape[1] * shape[2]].view(shape)
        if block.n_before:
            _product(out_JWE[..., : block.n_before], x_JWX, y_JNX[:, block.before], scale)
        for part in block.parts:
            end = block.n_before + part.own.stop - part.own.start
            _product(out_JWE[:, part.rows, block.n_before : end], x_JWX[:, part.rows], y_JNX[:, part.own], scale)
            if end < shape[2]:
                out_JWE[:, part.rows, end:] = filling
        return out_JWE

    def probabilities(self, block: Block, q_JWK: Tensor, k_JNK: Tensor, scale: float) -> Tensor:
        """Softmax over what each query sees, (J, W, E); the last query of a part stands at its last key."""
        p_JWE = self.products(block, q_JWK, k_JNK, scale, float("-inf"))
        for part in block.parts:
            width, end = part.rows.stop - part.rows.start, block.n_before + part.own.stop - part.own.start
            p_JWE[:, part.rows, end - width : end] += self.future[:width, :width]
        return torch.softmax(p_JWE, -1, out=p_JWE)


def _product(out_JWE: Tensor, x_JWX: Tensor, y_JEX: Tensor, scale: float) -> None:
    out_JWE.baddbmm_(x_JWX, y_JEX.mT, beta=0, alpha=scale)


def _mix(block: Block, p_JWE: Tensor, x_JNX: Tensor, out_JWX: Tensor, scale: float = 1.0) -> None:
    """out = scale·p·x over the keys that the block's queries see."""
    n_before = block.n_before
    if n_before:
        out_JWX.baddbmm_(p_JWE[..., :n_before], x_JNX[:, block.before], beta=0, alpha=scale)
    for part in block.parts:
        own = p_JWE[:, part.rows, n_before : n_before + part.own.stop - part.own.start]
        out_JWX[:, part.rows].baddbmm_(own, x_JNX[:, part.own], beta=1 if n_before else 0, alpha=scale)


def _spread(block: Block, p_JWE: Tensor, x_JWX: Tensor, out_JNX: Tensor, scale: float) -> None:
    """out += scale·pᵀ·x at the keys that the block's queries see."""
    n_before = block.n_before
    if n_before:
        out_JNX[:, block.before].baddbmm_(p_JWE[..., :n_before].mT, x_JWX, alpha=scale)
    for part in block.parts:
        own = p_JWE[:, part.rows, n_before : n_before + part.own.stop - part.own.start]
        out_JNX[:, part.own].baddbmm_(own.mT, x_JWX[:, part.rows], alpha=scale)


def _sum_shared(grad_NHX: Tensor, like_NGX: Tensor) -> Tensor:
    """Adds up the gradients of the query heads that share a key head."""
    groups = like_NGX.shape[1]
    return grad_NHX if groups == grad_NHX.shape[1] else grad_NHX.unflatten(1, (groups, -1)).sum(2)
