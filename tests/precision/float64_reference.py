"""Quantised products written out in float64, number by number and tile by tile: slow, and none of our code."""

import math

import numpy as np

E4M3, E5M6 = (4, 3, 448.0), (5, 6, 65024.0)


def round_number(value, exponent_bits, mantissa_bits):
    """The nearest number of a format, ties to even; `round` of Python rounds so."""
    if value == 0:
        return 0.0
    exponent = max(math.frexp(value)[1] - 1, 2 - 2 ** (exponent_bits - 1))
    step = 2.0 ** (exponent - mantissa_bits)
    return round(value / step) * step


def quantised(x, rows, columns, form=E4M3, power_of_two=False, smallest=1e-30):
    """A matrix with every tile of rows × columns scaled, rounded and scaled back."""
    exponent_bits, mantissa_bits, largest = form
    out = np.zeros_like(x)
    for i in range(0, x.shape[0], rows):
        for j in range(0, x.shape[1], columns):
            tile = x[i : i + rows, j : j + columns]
            scale = np.float32(max(np.abs(tile).max(), smallest)) / np.float32(largest)
            if power_of_two:
                scale = 2.0 ** math.ceil(math.log2(scale))
            for k, m in np.ndindex(tile.shape):
                scaled = float(np.float32(tile[k, m]) / np.float32(scale))
                out[i + k, j + m] = round_number(scaled, exponent_bits, mantissa_bits) * float(scale)
    return out


def linear_gradients(x, w, dy, smallest=1e-4):
    """y, dx, dw of DeepSeek-V3's linear: 1×128 and 128×128 forward, x and dy again as 128×1 for dw."""
    xq, wq = quantised(x, 1, 128, smallest=smallest), quantised(w, 128, 128, smallest=smallest)
    dx = quantised(dy, 1, 128) @ wq
    dw = quantised(dy, 128, 1).T @ quantised(xq, 128, 1, smallest=smallest)
    return xq @ wq.T, dx, dw
