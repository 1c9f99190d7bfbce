"""What the machine could do at most: the denominator of MFU, and the memory and price that a plan needs.

Of a card it is the published dense rate of its tensor cores. Of a CPU nothing useful is published, so
it is measured: the best of a few large matrix products in this process, with the threads it has now.

Left out: sparse peaks (twice the dense ones, never reached here), interconnects, and energy.
"""

import time
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch

from deepseek_lab.config import CheckedConfig
from deepseek_lab.precision.selection import has_bf16_units


class Card(NamedTuple):
    """A published card: dense FLOP/s in bf16 and in plain fp32."""

    bf16: float
    fp32: float


CARDS = {
    "H100 PCIe": Card(756e12, 51e12),
    "H100 NVL": Card(835e12, 60e12),
    "H100": Card(989e12, 67e12),
    "H200": Card(989e12, 67e12),
    "H800": Card(989e12, 67e12),
    "A100": Card(312e12, 19.5e12),
}
"""NVIDIA's data sheets, SXM where no form is named; the first name found in the device's name counts."""

_SECONDS = 0.4
_SIZES = (1024, 2048)


class Hardware:
    """`Hardware.Config(name="auto", ...).peak("cuda", "bf16")`."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        """One device. Where both peaks are null they are found out: from the card's name, or by measuring the CPU.

        peak_flops: dense bf16 FLOP/s. peak_flops_fp32: plain fp32 FLOP/s. price_per_hour: in dollars.
        """

        name: str
        peak_flops: float | None
        peak_flops_fp32: float | None
        memory_bytes: int | None
        price_per_hour: float | None

        def check(self) -> None:
            self.require_positive("peak_flops", "peak_flops_fp32", "memory_bytes")
            self.require_not_negative("price_per_hour")

        def peak(self, device_type: str, precision: str) -> float | None:
            """FLOP/s that one device could reach at most, or None where nobody knows (no MFU then).

            device_type: "cpu", "cuda", … precision: "fp32"; anything else multiplies in bf16.
            """
            bf16, fp32 = self.peak_flops, self.peak_flops_fp32
            if bf16 is None and fp32 is None:
                if device_type == "cpu":
                    return measured_flops("fp32" if precision == "fp32" or not has_bf16_units() else "bf16")
                card = find_card(torch.cuda.get_device_name()) if device_type == "cuda" else None
                bf16, fp32 = (card.bf16, card.fp32) if card else (None, None)
            return _fp32_peak(bf16, fp32) if precision == "fp32" else bf16


def find_card(device_name: str) -> Card | None:
    """The published card that a CUDA device's name speaks of, or None."""
    return next((card for name, card in CARDS.items() if name in device_name), None)


@cache
def measured_flops(precision: str) -> float:
    """Best FLOP/s of a few square products on this CPU, in "fp32" or "bf16"; half a second, once a process."""
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    best = 0.0
    for size in _SIZES:
        left, right = torch.rand(size, size).to(dtype), torch.rand(size, size).to(dtype)
        until = time.perf_counter() + _SECONDS / len(_SIZES)
        while True:
            start = time.perf_counter()
            left @ right
            end = time.perf_counter()
            best = max(best, 2 * size**3 / (end - start))
            if end > until:
                break
    return best


def _fp32_peak(bf16: float | None, fp32: float | None) -> float | None:
    """The fp32 peak; where torch may use TF32, that of the tensor cores, which is half their bf16 rate."""
    uses_tf32 = torch.get_float32_matmul_precision() != "highest"
    return bf16 / 2 if uses_tf32 and bf16 is not None else fp32
