"""A run before it runs: sizes, work, memory, time and price from a built module and a few numbers.

    hours = FLOPs a token · tokens / (peak FLOP/s · MFU · devices · 3600)

MFU is assumed and stated, never measured here. Left out: validation, checkpoints, and time lost to failures.
"""

from dataclasses import dataclass
from typing import Any

from deepseek_lab.planning.counts import Counts
from deepseek_lab.planning.memory import Memory

CACHE_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1}
"""Bytes of one number of the key-value cache."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a run is planned for; `peak_flops` None where nobody knows it."""

    hardware: str
    devices: int
    peak_flops: float | None
    memory_bytes: int | None
    price_per_hour: float | None
    mfu: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One job that can run."""

    counts: Counts
    cache_dtype: str
    precision: str
    seq_len: int
    micro_batch_size: int
    batch_size: int
    steps: int
    tokens: int
    memory: Memory
    machine: Machine

    @property
    def kv_cache_bytes_per_token(self) -> int:
        """Of all layers, in `cache_dtype`."""
        return self.counts.kv_cache_elements_per_token * CACHE_BYTES[self.cache_dtype]

    @property
    def device_hours(self) -> float | None:
        """Hours of all devices together, or None where the peak is unknown."""
        machine = self.machine
        if not machine.peak_flops:
            return None
        return self.counts.flops_per_token * self.tokens / (machine.peak_flops * machine.mfu) / 3600

    @property
    def hours(self) -> float | None:
        """Hours from start to end."""
        return None if self.device_hours is None else self.device_hours / self.machine.devices

    @property
    def cost(self) -> float | None:
        """Price of all devices, in the currency of the hardware's price."""
        price = self.machine.price_per_hour
        return None if price is None or self.device_hours is None else price * self.device_hours

    @property
    def fits(self) -> bool | None:
        """Whether the peak fits into one device's memory, or None where that is unknown."""
        room = self.machine.memory_bytes
        return None if room is None else self.memory.peak <= room

    def as_data(self) -> dict[str, Any]:
        """Plain values, flat but for the parts of the memory; what nobody knows is None."""
        return {
            **vars(self.counts),
            "kv_cache_bytes_per_token": self.kv_cache_bytes_per_token,
            "cache_dtype": self.cache_dtype,
            "seq_len": self.seq_len,
            "batch_size": self.batch_size,
            "micro_batch_size": self.micro_batch_size,
            "steps": self.steps,
            "tokens": self.tokens,
            "precision": self.precision,
            "peak_memory_bytes": self.memory.peak,
            "memory": vars(self.memory),
            "hardware": self.machine.hardware,
            "devices": self.machine.devices,
            "device_memory_bytes": self.machine.memory_bytes,
            "fits": self.fits,
            "peak_flops_per_second": self.machine.peak_flops,
            "mfu": self.machine.mfu,
            "hours": self.hours,
            "device_hours": self.device_hours,
            "cost": self.cost,
        }
