"""Narrow floating-point formats, and rounding to them in fp32 arithmetic that any device has.

A float t of exponent e lies between two multiples of 2^(e-m) that m mantissa bits can hold. Adding and subtracting
1.5·2^(e-m+23) leaves t rounded to such a multiple, ties to even, because fp32 itself rounds the sum there. Below
the smallest normal number the step stays that of the subnormals. So the values are those of torch's cast, to the
bit, without leaving fp32: faster on a CPU than casting there and back.

Left out: stochastic rounding, and storage of formats that torch has no dtype for (E5M6).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_EXPONENT_BITS = 0x7F800000
"""The exponent field of an fp32 number: everything else masked away leaves 2^e."""


@dataclass(frozen=True)
class FloatFormat:
    """A format by its bits. `max` is the largest finite number; e4m3fn has no infinity."""

    name: str
    exponent_bits: int
    mantissa_bits: int
    max: float
    dtype: torch.dtype | None
    has_infinity: bool

    @property
    def smallest_normal(self) -> float:
        """2^(2 - 2^(exponent_bits - 1)); the subnormals below are evenly spaced down to zero."""
        return float(2.0 ** (2 - 2 ** (self.exponent_bits - 1)))

    @property
    def smallest(self) -> float:
        """The smallest number above zero."""
        return self.smallest_normal * float(2.0**-self.mantissa_bits)


E4M3 = FloatFormat("e4m3", 4, 3, 448.0, torch.float8_e4m3fn, has_infinity=False)
E5M2 = FloatFormat("e5m2", 5, 2, 57344.0, torch.float8_e5m2, has_infinity=True)
E5M6 = FloatFormat("e5m6", 5, 6, 65024.0, None, has_infinity=True)
"""DeepSeek-V3's own 12 bits for the input of the linear after attention (§3.3.3)."""

FORMATS = {form.name: form for form in (E4M3, E5M2, E5M6)}


def round_within_range(
    t: Tensor, form: FloatFormat, unit: Tensor | None = None, into: Tensor | None = None, work: Tensor | None = None
) -> Tensor:
    """fp32 numbers of magnitude at most `form.max`·unit, rounded to the format times `unit`; -0 becomes 0.

    unit: powers of two that broadcast against `t` (default 1): rounding then needs no division before and no
    product after. into, work: memory for the result (`t` itself, if you like) and for its steps. Beyond the range
    the result is still rounded to m mantissa bits, and no number of the format.
    """
    step = torch.empty_like(t) if work is None else work
    torch.bitwise_and(t.view(torch.int32), _EXPONENT_BITS, out=step.view(torch.int32))
    if unit is None:
        step.clamp_(min=form.smallest_normal)
    else:
        torch.maximum(step, unit * form.smallest_normal, out=step)
    magic = 1.5 * 2.0 ** (23 - form.mantissa_bits)
    return torch.add(t, step, alpha=magic, out=into).sub_(step, alpha=magic)


def round_to_format(t: Tensor, form: FloatFormat) -> Tensor:
    """Any fp32 numbers rounded as torch's cast does it: to the bit, out of range too.

    Beyond `max`, once rounded, a number becomes infinite; in a format without infinity, `max`.
    """
    rounded = round_within_range(t.clamp(-4 * form.max, 4 * form.max), form).abs()
    beyond = float("inf") if form.has_infinity else form.max
    rounded = torch.where(rounded > form.max, torch.full_like(t, beyond), rounded)
    return torch.copysign(rounded, t)


def power_of_two_above(scale: Tensor) -> Tensor:
    """The smallest power of two that is at least `scale`: 2^ceil(log2(scale)), exactly (ue8m0 of V3.1)."""
    mantissa, exponent = torch.frexp(scale)
    return torch.ldexp(torch.ones_like(scale), exponent - (mantissa == 0.5).int())
