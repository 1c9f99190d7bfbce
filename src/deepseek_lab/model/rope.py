"""Rotary position embedding: default, linear, llama3 and YaRN frequencies; two memory layouts.

A pair of channels (a, b) at position p turns by the angle p·f_i (Su et al. 2021, eq. 15). Scalings
change the frequencies f_i only: `linear` divides them by `factor`; `llama3` divides the slow ones
and leaves the fast ones; `yarn` (Peng et al. 2023, §3.2) ramps between the two by how often a
frequency turns within the original context. DeepSeek adds a temperature to YaRN: the softmax
scale grows by mscale², mscale = 0.1·m·ln(factor) + 1 (V2 §3.1.4, V3 §4.3 for m = 1).

Layouts: `interleaved` pairs channels (0,1), (2,3), … (DeepSeek's MLA); `half_split` pairs (i, i + R/2)
(Llama, so DeepSeek LLM, Coder, Math and the distilled models).

Left out: switching the scaling on only beyond the original length, as DeepSeek's inference file
does; like transformers, a chosen scaling holds at every length.

Shapes: B batch, T time, H heads, R rotated channels of a head.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from deepseek_lab.model.rope_config import Layout as Layout
from deepseek_lab.model.rope_config import RopeConfig as RopeConfig


def _yarn_ramp_R(config: RopeConfig, rope_dim: int) -> Tensor:
    """(R/2,) share of the interpolated frequency: 0 for fast turners, 1 for slow ones."""

    def channel(turns: float) -> float:
        span = math.log(config.original_max_seq_len / (turns * 2 * math.pi))
        return rope_dim * span / (2 * math.log(config.theta))

    low, high = channel(config.beta_fast), channel(config.beta_slow)
    if config.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rope_dim - 1)
    width = (high - low) or 0.001  # a ramp of no width would divide by zero
    return ((torch.arange(rope_dim // 2, dtype=torch.float32) - low) / width).clamp(0, 1)


def _llama3_share_R(config: RopeConfig, inverse_R: Tensor) -> Tensor:
    """(R/2,) share of the interpolated frequency under llama3's rule (by wavelength)."""
    turns_R = config.original_max_seq_len * inverse_R / (2 * math.pi)
    smooth_R = (turns_R - config.low_freq_factor) / (config.high_freq_factor - config.low_freq_factor)
    return 1 - smooth_R.clamp(0, 1)


def frequencies(config: RopeConfig, rope_dim: int) -> Tensor:
    """(R/2,) fp32 radians a position for each pair of channels."""
    exponent_R = torch.arange(0, rope_dim, 2, dtype=torch.float32) / rope_dim
    inverse_R = 1.0 / (config.theta**exponent_R)
    if config.type == "default":
        return inverse_R
    if config.type == "linear":
        return inverse_R / config.factor
    share_R = _yarn_ramp_R(config, rope_dim) if config.type == "yarn" else _llama3_share_R(config, inverse_R)
    return inverse_R / config.factor * share_R + inverse_R * (1 - share_R)


@lru_cache(maxsize=64)
def _frequencies_on(config: RopeConfig, rope_dim: int, device: torch.device) -> Tensor:
    # A constant of the config, so it is no buffer: a model built on meta has nothing to restore.
    with torch.device("cpu"), torch.inference_mode(False):
        return frequencies(config, rope_dim).to(device)


def rotation_table(config: RopeConfig, rope_dim: int, positions_BT: Tensor) -> Tensor:
    """(B, T) positions -> (B, T, R/2) complex64 rotations, rotation_factor · e^{i·p·f}.

    A TorchFunctionMode may stand in for it: tensors without numbers must not enter the cache of frequencies.
    """
    if has_torch_function_unary(positions_BT):
        stand_in: Tensor = handle_torch_function(rotation_table, (positions_BT,), config, rope_dim, positions_BT)
        return stand_in
    if positions_BT.is_meta:
        return positions_BT.new_empty((*positions_BT.shape, rope_dim // 2), dtype=torch.complex64)
    angle_BTR = positions_BT[..., None].float() * _frequencies_on(config, rope_dim, positions_BT.device)
    return torch.polar(torch.full_like(angle_BTR, config.rotation_factor), angle_BTR)


def rotate(x_BTHR: Tensor, rotation_BTR: Tensor, layout: Layout) -> Tensor:
    """Turns (B, T, H, R) queries or keys by (B or 1, T, R/2) rotations; keeps layout and dtype.

    Rotations may come as real pairs (…, R/2, 2), for compilers that know no complex numbers.
    """
    turn_BT1R = rotation_BTR.unsqueeze(2)
    if not rotation_BTR.is_complex():
        cos, sin = turn_BT1R.to(x_BTHR.dtype).unbind(-1)
        return _rotate_real(x_BTHR, cos, sin, layout)
    if layout == "interleaved" and _suits_complex(x_BTHR):
        wide = torch.promote_types(x_BTHR.dtype, torch.float32)  # no complex arithmetic in 16 bits
        pairs = torch.view_as_complex(x_BTHR.to(wide).unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * turn_BT1R).flatten(-2).to(x_BTHR.dtype)
    return _rotate_real(x_BTHR, turn_BT1R.real.to(x_BTHR.dtype), turn_BT1R.imag.to(x_BTHR.dtype), layout)


def _rotate_real(x_BTHR: Tensor, cos: Tensor, sin: Tensor, layout: Layout) -> Tensor:
    if layout == "interleaved":
        a, b = x_BTHR.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack((a * cos - b * sin, b * cos + a * sin), dim=-1).flatten(-2)
    a, b = x_BTHR.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def _suits_complex(x_BTHR: Tensor) -> bool:
    """Whether every pair begins at an even place, as a complex number must (not behind an odd kv_lora_rank)."""
    *outer, last = x_BTHR.stride()
    return x_BTHR.storage_offset() % 2 == 0 and last == 1 and all(step % 2 == 0 for step in outer)
