"""Hours, price and bytes of the cache, against DeepSeek-V3's own table."""

import dataclasses

import pytest

from deepseek_lab.planning.counts import Counts
from deepseek_lab.planning.memory import Memory
from deepseek_lab.planning.plan import Machine, Plan

COUNTS = Counts(
    total_params=10, active_params=8, active_params_no_embedding=6, mtp_params=0,
    kv_cache_elements_per_token=35_136, flops_per_token=6e9,
)  # fmt: skip
MACHINE = Machine(
    hardware="h800", devices=4, peak_flops=1e15, memory_bytes=100, price_per_hour=2.0, mfu=0.5
)  # fmt: skip
PLAN = Plan(
    counts=COUNTS, cache_dtype="bf16", precision="bf16", seq_len=4096, micro_batch_size=1, batch_size=8, steps=10,
    tokens=3 * 10**9, memory=Memory(weights=10, gradients=20, optimizer=30, activations=40), machine=MACHINE,
)  # fmt: skip


def on(**changes):
    return dataclasses.replace(PLAN, machine=dataclasses.replace(MACHINE, **changes))


def test_hours_are_work_over_what_all_devices_reach():
    assert PLAN.device_hours == pytest.approx(6e9 * 3e9 / 5e14 / 3600)
    assert PLAN.hours == pytest.approx(PLAN.device_hours / 4)
    assert PLAN.cost == pytest.approx(2 * PLAN.device_hours)
    assert on(devices=8).device_hours == PLAN.device_hours
    assert on(mfu=0.25).hours == pytest.approx(2 * PLAN.hours)


def test_what_nobody_knows_is_none():
    unknown = on(peak_flops=None)
    assert (unknown.hours, unknown.device_hours, unknown.cost) == (None, None, None)
    assert on(price_per_hour=None).cost is None
    assert on(memory_bytes=None).fits is None


def test_it_fits_when_all_parts_together_do():
    assert PLAN.memory.peak == 100
    assert PLAN.fits
    assert not on(memory_bytes=99).fits


@pytest.mark.parametrize(("dtype", "n_bytes"), [("bf16", 70_272), ("fp32", 140_544), ("fp8", 35_136)])
def test_bytes_of_the_cache(dtype, n_bytes):
    assert dataclasses.replace(PLAN, cache_dtype=dtype).kv_cache_bytes_per_token == n_bytes


def test_plain_data_holds_every_promised_key():
    data = PLAN.as_data()
    assert data["peak_memory_bytes"] == sum(data["memory"].values()) == 100
    promised = {"total_params", "active_params", "active_params_no_embedding", "mtp_params", "flops_per_token"}
    promised |= {"kv_cache_elements_per_token", "kv_cache_bytes_per_token", "tokens", "hours", "cost", "mfu"}
    assert promised <= set(data)
