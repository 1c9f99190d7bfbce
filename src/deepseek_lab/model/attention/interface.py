"""What every attention shares: its config's promises, its inputs besides x, and the SDPA call.

A new attention is one YAML and two files beside this one: a module with `forward(x, context, layer cache)` and
`cache_shape`, and, apart from it and without torch, a Config with `rope_dim_at` and `build`.

Shapes: B batch, T new tokens, S keys, H heads, R rotated channels, K query/key width, V value width.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_lab.model.attention.blocked import blocked_causal_attention
from deepseek_lab.model.attention.segments import Segment, cut_segments, segment_attention
from deepseek_lab.model.rope import RopeConfig, rotation_table

FEW_QUERIES = 16
"""New tokens a row up to which a cache is read as it lies (MLA absorbed), and heads are queries (`attend_few`)."""

_BLOCKED_FROM = 256  # tokens from which our CPU kernel is the faster one at every width tried


@dataclass(frozen=True)
class AttentionContext:
    """Where the new tokens stand and what they may see: made once a forward, read by every layer.

    rotation_BTR   (B or 1, T, R/2) complex rotations of the new tokens
    mask_BTS       (B or 1, 1, T, S) bool, True where a query may look; None means plain causal
                   over the new tokens, or every one of the S keys for a single new token
    n_keys         S, the slots to read when a cache is given
    read_cache     False when the new tokens are all there is (training, a first prefill)
    start, slots_BT, keep_BT   where the cache is written, see `write_tokens`
    segments       of the B·T tokens of all rows, one behind the other; given in the place of a mask
    """

    rotation_BTR: Tensor
    mask_BTS: Tensor | None = None
    n_keys: int = 0
    read_cache: bool = False
    start: int = 0
    slots_BT: Tensor | None = None
    keep_BT: Tensor | None = None
    segments: tuple[Segment, ...] | None = None

    def cut(self, length: int) -> "AttentionContext":
        """The context of the first `length` tokens (for MTP blocks, whose sequences are shorter)."""
        mask = None if self.mask_BTS is None else self.mask_BTS[:, :, :length, :length]
        segments = None if self.segments is None else cut_segments(self.segments, self.rotation_BTR.shape[1], length)
        return AttentionContext(rotation_BTR=self.rotation_BTR[:, :length], mask_BTS=mask, segments=segments)


def plain_context(rope: RopeConfig, rope_dim: int, rows_BT: Tensor) -> AttentionContext:
    """Whole rows (B, T, …) from position 0, causal: what a layer stands in that is called alone."""
    positions_1T = torch.arange(rows_BT.shape[1], device=rows_BT.device)[None]
    return AttentionContext(rotation_table(rope, rope_dim, positions_1T))


class Attention(nn.Module):
    """Base of all attentions; `kind` is the word that tables print."""

    def cache_shape(self) -> tuple[int, ...]:
        """The shape of what the cache keeps for one token of this layer."""
        raise TypeError(f"{type(self).__name__} does not say what it caches")

    def score_and_value_width(self) -> int:
        """Σ over heads of (query-key width + value width): the size of its T×S products, for FLOP counts."""
        raise TypeError(f"{type(self).__name__} does not say its head widths")


class AttentionConfig(Protocol):
    """What a Transformer needs to know of an attention's Config."""

    def rope_dim_at(self, dim: int) -> int:
        """Rotated channels of a head at model width `dim`."""
        ...

    def build(self, dim: int, *, layer_index: int, rope: RopeConfig) -> Attention:
        """The module of one layer; width and position arrive here and are never repeated in the config."""
        ...


def attend(
    q_BHTK: Tensor,
    k_BHSK: Tensor,
    v_BHSV: Tensor,
    mask_BTS: Tensor | None,
    scale: float,
    segments: tuple[Segment, ...] | None = None,
) -> Tensor:
    """softmax(q·kᵀ·scale + mask)·v -> (B, H, T, V); `segments` say in the place of a mask what a token sees.

    Fewer key heads than query heads are shared by groups. Plain causal attention over many tokens
    on a CPU runs in our own blocked kernel, all else in torch's fused one. On a CPU that one wants
    equal widths, else torch silently takes the slow path that holds all scores: V is padded with
    zeros to K there and cut again (1.5 to 3 times sooner in training).
    """
    if segments is not None:
        q_NHK, k_NHK, v_NHV = (x.transpose(1, 2).flatten(0, 1) for x in (q_BHTK, k_BHSK, v_BHSV))
        y_NHV = segment_attention(q_NHK, k_NHK, v_NHV, segments, scale)
        y_BTHV: Tensor = y_NHV.unflatten(0, (len(q_BHTK), -1))
        return y_BTHV.transpose(1, 2)
    on_cpu = q_BHTK.device.type == "cpu"
    if on_cpu and mask_BTS is None and _suits_blocked(q_BHTK):
        return blocked_causal_attention(q_BHTK, k_BHSK, v_BHSV, scale)
    width = v_BHSV.shape[-1]
    pad = q_BHTK.shape[-1] - width if on_cpu else 0
    if pad > 0:
        v_BHSV = F.pad(v_BHSV, (0, pad))
    y_BHTV = F.scaled_dot_product_attention(
        q_BHTK,
        k_BHSK,
        v_BHSV,
        attn_mask=mask_BTS,
        is_causal=mask_BTS is None and q_BHTK.shape[2] > 1,
        scale=scale,
        enable_gqa=k_BHSK.shape[1] != q_BHTK.shape[1],
    )
    return y_BHTV[..., :width] if pad > 0 else y_BHTV


def attend_few(q_BTHK: Tensor, k_BGSK: Tensor, v_BGSK: Tensor, mask_BTS: Tensor | None, scale: float) -> Tensor:
    """Attention of a few new tokens over a cache -> (B, T, H, K), keys and values equally wide.

    The heads that share keys stand one below the other as if they were queries of one head: products of J·T rows
    instead of T, and the keys are read once for all of them. A mask says what a token sees, whatever its head.
    """
    _, time, heads, _ = q_BTHK.shape
    groups = k_BGSK.shape[1]
    shared = heads // groups
    q_BGXK = q_BTHK.unflatten(2, (groups, shared)).transpose(1, 2).flatten(2, 3)
    if mask_BTS is not None and time > 1:
        mask_BTS = mask_BTS.repeat_interleave(shared, dim=2)
    y_BGXK: Tensor = F.scaled_dot_product_attention(q_BGXK, k_BGSK, v_BGSK, attn_mask=mask_BTS, scale=scale)
    y_BTGJK: Tensor = y_BGXK.unflatten(2, (time, shared)).transpose(1, 2)
    return y_BTGJK.flatten(2, 3)


def _suits_blocked(q_BHTK: Tensor) -> bool:
    """Long and in full precision; autocast would send the products of the blocked kernel to 16 bits."""
    wide = q_BHTK.dtype in (torch.float32, torch.float64)
    return q_BHTK.shape[2] >= _BLOCKED_FROM and wide and not torch.is_autocast_enabled("cpu")


def causal_mask(positions_BT: Tensor, n_keys: int) -> Tensor:
    """(B, T) positions -> (B, 1, T, S) bool: slot s is seen from position p when s ≤ p."""
    slots_S = torch.arange(n_keys, device=positions_BT.device)
    return (slots_S <= positions_BT[..., None]).unsqueeze(1)
