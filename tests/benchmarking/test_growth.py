"""The benchmarks by size: counts follow the arithmetic, every point is measured, drawn and written."""

import io
import json

import pytest
import torch
from rich.console import Console

from deepseek_lab.benchmarking import growth, memory, scaling
from deepseek_lab.benchmarking.growth import Sizes, points
from deepseek_lab.planning.counts import count, flops_per_token

SMALL = Sizes(width=64, layers=2, sequence=32, vocabulary=64)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    axes = {"experts": (8, 16), "sequence": (32, 64), "layers": (2, 3), "width": (64, 128), "vocabulary": (64, 4096)}
    monkeypatch.setattr(growth, "AXES", axes)
    monkeypatch.setattr(growth, "TOKENS", 128)
    monkeypatch.setattr("deepseek_lab.benchmarking.interleaved.sgemm_peak", lambda: 1e12)
    monkeypatch.setattr(scaling, "copy_bandwidth", lambda: 1e12)


def shown(table):
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_more_experts_change_no_active_product_and_longer_sequences_the_attention_alone():
    few, many = (count(sizes.model(), 32) for sizes in points("experts", SMALL).values())
    assert many.total_params > 1.3 * few.total_params
    routers = 1 * 8 * 64  # one mixture layer: 8 more rows of a router
    assert many.active_params - few.active_params == routers
    short, long = points("sequence", SMALL).values()
    assert short.tokens_BT1()[:, 1:].numel() == long.tokens_BT1()[:, 1:].numel() == 128
    assert flops_per_token(long.model(), 64) > flops_per_token(short.model(), 32)


def test_memory_is_counted_for_every_choice_and_size(tmp_path):
    results = [memory.measure(axis, lambda line: None, SMALL) for axis in ("experts", "vocabulary")]
    for result in results:
        for point in result["points"]:
            choices = point["choices"]
            assert choices["block"]["kept"] < choices["v3"]["kept"] < choices["none"]["kept"] < choices["none"]["peak"]
    by_row = {result["row"]: result["points"] for result in results}
    small, large = by_row["vocabulary"]
    assert large["whole_logits"] == 4 * 128 * 4096
    assert large["weights"] - small["weights"] == 4 * 2 * (4096 - 64) * 64, "embedding and head"
    few, many = (point["choices"]["none"]["peak"] for point in by_row["experts"])
    assert many > few, "gradients of all experts"
    memory.save(results, tmp_path)
    assert json.loads((tmp_path / "memory.json").read_text()) == results
    assert (tmp_path / "memory.png").stat().st_size > 1000
    assert "vocabulary" in shown(memory.table(results))


def test_memory_repeats_to_the_byte():
    assert memory.measure("experts", lambda line: None, SMALL) == memory.measure("experts", lambda line: None, SMALL)


def test_speed_stands_beside_flops_and_bytes(tmp_path):
    results = [scaling.measure(axis, 2, lambda line: None, SMALL) for axis in ("experts", "width")]
    experts, width = (result["points"] for result in results)
    for point in experts + width:
        assert len(point["seconds"]) == 2
        n_bytes = point["bytes_per_token"] * point["tokens"]
        assert point["floor_seconds"] == pytest.approx((point["tokens"] * point["flops_per_token"] + n_bytes) / 1e12)
    assert experts[1]["bytes_per_token"] > experts[0]["bytes_per_token"]
    assert experts[1]["flops_per_token"] == pytest.approx(experts[0]["flops_per_token"], rel=0.05)
    assert width[1]["flops_per_token"] > 3 * width[0]["flops_per_token"]
    scaling.save(results, tmp_path)
    assert json.loads((tmp_path / "scaling.json").read_text()) == results
    assert (tmp_path / "scaling.png").stat().st_size > 1000
    assert "experts" in shown(scaling.table(results))


def test_bytes_count_every_pass_over_the_weights():
    model = SMALL.model()
    weights = sum(weight.numel() for weight in model.parameters())
    moved = scaling.bytes_of_step(model, SMALL.tokens_BT1())
    assert moved > 4 * 10 * weights
    with torch.no_grad():
        assert scaling.bytes_of_step(model, SMALL.tokens_BT1()) < moved, "without a backward pass nothing is kept"
