"""Positions and masks of one forward, with and without a cache.

Rows may differ: padding on either side is marked invalid, a token's position counts the valid tokens
before it in its row, and a cached row stores them without gaps, so slot and position are the same
number. Where every row is alike no mask is built, and the fused causal kernel runs; documents of long rows are segments
on a CPU, where their tokens meet no others at all, and a mask elsewhere.

Shapes: B batch, T new tokens, S keys.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from deepseek_lab.model.attention.interface import AttentionContext, causal_mask, plain_context
from deepseek_lab.model.attention.segments import Segment
from deepseek_lab.model.cache import Cache
from deepseek_lab.model.rope import RopeConfig, rotation_table

_SEGMENTS_FROM = 256
"""Tokens of a row: at 128 segments took up to 1.15 times as long as a mask in training, at 2,048 a third."""


def fresh_context(
    rope: RopeConfig, rope_dim: int, input_ids_BT: Tensor, document_BT: Tensor | None, valid_BT: Tensor | None
) -> AttentionContext:
    """Context of whole sequences (training, scoring): causal, within documents and over valid tokens."""
    if document_BT is None and valid_BT is None:
        return plain_context(rope, rope_dim, input_ids_BT)
    time = input_ids_BT.shape[1]
    index_1T = torch.arange(time, device=input_ids_BT.device)[None]
    if document_BT is not None and valid_BT is None:
        segments = segments_of(document_BT)
        if segments is not None:
            return AttentionContext(rotation_table(rope, rope_dim, index_1T), segments=segments)
    mask = causal_mask(index_1T, time)
    positions_BT = index_1T
    if document_BT is not None:
        mask = mask & (document_BT[:, None, :, None] == document_BT[:, None, None, :])
    if valid_BT is not None:
        positions_BT = (valid_BT.cumsum(1) - 1).clamp_min(0)
        # A padded query keeps itself: a row of nothing but −inf would become NaN.
        itself = torch.eye(time, dtype=torch.bool, device=input_ids_BT.device)
        mask = mask & (valid_BT[:, None, None, :] | itself)
    return AttentionContext(rotation_table(rope, rope_dim, positions_BT), mask)


def segments_of(document_BT: Tensor) -> tuple[Segment, ...] | None:
    """The documents of all rows, one row behind the other; None where one does not stand in one piece.

    None, too, off a CPU and in 16 bits, where attention by segments is not our own, and in short rows, where one call
    with a mask is sooner done than a few a document. A TorchFunctionMode may stand in for it: tensors without numbers
    do not say where a document ends.
    """
    if document_BT.shape[1] < _SEGMENTS_FROM:
        return None
    if has_torch_function_unary(document_BT):
        stand_in: tuple[Segment, ...] | None = handle_torch_function(segments_of, (document_BT,), document_BT)
        return stand_in
    if document_BT.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return None
    time = document_BT.shape[1]
    opens_BT = document_BT.diff(dim=1, prepend=document_BT[:, :1] - 1) != 0
    starts_N = opens_BT.flatten().nonzero().squeeze(1)
    starts, documents = starts_N.tolist(), document_BT.flatten()[starts_N].tolist()
    if len({(start // time, document) for start, document in zip(starts, documents, strict=True)}) < len(starts):
        return None
    return tuple(Segment(start, end) for start, end in pairwise([*starts, document_BT.numel()]))


def segments_context(
    rope: RopeConfig, rope_dim: int, segments: Sequence[Segment], device: torch.device
) -> AttentionContext:
    """Context of one row of segments without gaps: a token stands behind its segment's `before`, as if it were alone.

    Raises ValueError for segments with gaps.
    """
    ends = [0, *(segment.end for segment in segments)]
    if [segment.start for segment in segments] != ends[:-1]:
        raise ValueError("segments stand one behind the other, without gaps")
    first = [segment.start - (segment.before[1] - segment.before[0]) for segment in segments]
    lengths = torch.tensor([segment.end - segment.start for segment in segments], device=device)
    first_N = torch.tensor(first, device=device).repeat_interleave(lengths)
    positions_1N = (torch.arange(ends[-1], device=device) - first_N)[None]
    return AttentionContext(rotation_table(rope, rope_dim, positions_1N), segments=tuple(segments))


def cached_context(
    rope: RopeConfig,
    rope_dim: int,
    input_ids_BT: Tensor,
    valid_BT: Tensor | None,
    cache: Cache,
    as_ragged: bool = False,
) -> AttentionContext:
    """Context of new tokens behind what the cache holds; advances the cache's lengths.

    as_ragged: slots and a mask also where all rows are alike, so that no place is a number of the program's own
    """
    batch, time = input_ids_BT.shape
    counts = [time] * batch if valid_BT is None else [int(n) for n in valid_BT.sum(1).tolist()]
    cache.require_room(counts)
    before, was_empty, was_uniform = list(cache.lengths), cache.is_empty, cache.is_uniform
    cache.lengths = [length + count for length, count in zip(before, counts, strict=True)]
    n_keys = max(cache.lengths)
    if valid_BT is None and was_uniform and not as_ragged:
        positions_1T = torch.arange(before[0], before[0] + time, device=input_ids_BT.device)[None]
        mask = None if was_empty or time == 1 else causal_mask(positions_1T, n_keys)
        rotation = rotation_table(rope, rope_dim, positions_1T)
        return AttentionContext(rotation, mask, n_keys, read_cache=not was_empty, start=before[0])
    device = input_ids_BT.device
    ahead_BT = torch.arange(1, time + 1, device=device)[None] if valid_BT is None else valid_BT.cumsum(1)
    positions_BT = (torch.tensor(before, device=device)[:, None] + ahead_BT - 1).clamp_min(0)
    rotation = rotation_table(rope, rope_dim, positions_BT)
    mask = causal_mask(positions_BT, n_keys)
    return AttentionContext(rotation, mask, n_keys, True, slots_BT=positions_BT, keep_BT=valid_BT)
