"""A stand-in for the scaled product of Hopper: checks what cuBLAS checks, then multiplies in float64.

The rules are those of torch's ScaledBlas.cpp for scales of 1×128 and 128×128.
"""

import torch
import torch.nn.functional as F

BLOCK = F.ScalingType.BlockWise1x128
SQUARE = F.ScalingType.BlockWise128x128


def _spread(scale, kind, rows, columns, name):
    blocks = -(-columns // 128)
    if kind == BLOCK:
        assert scale.shape == (rows, blocks), f"{name}: {tuple(scale.shape)} for {(rows, blocks)}"
        assert scale.stride(0) == 1, f"{name}: strides {scale.stride()}"
        assert scale.stride(1) == rows or blocks == 1, f"{name}: strides {scale.stride()}"
        return scale.repeat_interleave(128, 1)[:, :columns]
    fours = -(-blocks // 4) * 4
    assert kind == SQUARE, f"{name}: {kind}"
    assert scale.shape == (fours, -(-rows // 128)), f"{name}: {tuple(scale.shape)}"
    assert scale.stride(0) == 1, f"{name}: strides {scale.stride()}"
    assert scale.stride(1) == fours or scale.shape[1] == 1, f"{name}: strides {scale.stride()}"
    return scale.t()[:, :blocks].repeat_interleave(128, 1)[:, :columns].repeat_interleave(128, 0)[:rows]


def scaled_mm(a, b, scale_a, kind_a, scale_b, kind_b, *, output_dtype):
    """`F.scaled_mm` for block scales."""
    assert (kind_a, kind_b) != (SQUARE, SQUARE), "no kernel multiplies two operands with 128x128 scales"
    assert a.dtype == b.dtype == torch.float8_e4m3fn
    assert a.is_contiguous(), "a is row-major"
    assert b.t().is_contiguous(), "b is column-major"
    assert a.shape[1] == b.shape[0]
    assert not any(size % 16 for size in (*b.shape, a.shape[1]))
    assert scale_a.dtype == scale_b.dtype == torch.float32
    left = a.double() * _spread(scale_a, kind_a, *a.shape, "scale_a")
    right = b.t().double() * _spread(scale_b, kind_b, *b.t().shape, "scale_b")
    return (left @ right.t()).to(output_dtype)
