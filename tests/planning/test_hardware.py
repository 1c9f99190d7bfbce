"""Peaks: stated ones win, cards are found by name, a CPU is measured once."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from deepseek_lab.config import ConfigError
from deepseek_lab.planning import hardware
from deepseek_lab.planning.hardware import CARDS, Hardware, find_card, measured_flops

AUTO = {
    "name": "auto",
    "peak_flops": None,
    "peak_flops_fp32": None,
    "memory_bytes": None,
    "price_per_hour": None,
}
CONF = Path(__file__).parents[2] / "conf" / "hardware"


@pytest.mark.parametrize(
    ("device", "card"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H100 NVL", "H100 NVL"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
    ],
)
def test_cards_by_device_name(monkeypatch, device, card):
    assert find_card(device) is CARDS[card]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: device)
    assert Hardware.Config(**AUTO).peak("cuda", "bf16") == CARDS[card].bf16
    assert Hardware.Config(**AUTO).peak("cuda", "fp32") == CARDS[card].fp32


def test_an_unknown_device_has_no_peak(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA GeForce RTX 5090")
    assert Hardware.Config(**AUTO).peak("cuda", "bf16") is None
    assert Hardware.Config(**AUTO).peak("cuda", "fp32") is None
    assert Hardware.Config(**AUTO).peak("mps", "fp32") is None


def test_stated_peaks_win():
    config = Hardware.Config(**AUTO | {"peak_flops": 2e12, "peak_flops_fp32": 1e12})
    assert (config.peak("cpu", "bf16"), config.peak("cuda", "fp32")) == (2e12, 1e12)


def test_tf32_is_half_the_bf16_rate(monkeypatch):
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert Hardware.Config(**AUTO | {"peak_flops": 989e12, "peak_flops_fp32": 67e12}).peak("cuda", "fp32") == 494.5e12


@pytest.mark.parametrize("name", ["h100", "h200", "h800", "a100"])
def test_files_say_what_the_table_says(name):
    stated = OmegaConf.load(CONF / f"{name}.yaml")
    assert (stated.peak_flops, stated.peak_flops_fp32) == CARDS[name.upper()]


def test_a_cpu_is_measured_once(monkeypatch):
    monkeypatch.setattr(hardware, "_SIZES", (128,))
    monkeypatch.setattr(hardware, "_SECONDS", 0.01)
    measured_flops.cache_clear()
    try:
        first = Hardware.Config(**AUTO).peak("cpu", "fp32")
        assert first > 1e8
        assert Hardware.Config(**AUTO).peak("cpu", "fp32") == first
    finally:
        measured_flops.cache_clear()


def test_bad_config():
    with pytest.raises(ConfigError, match="peak_flops"):
        Hardware.Config(**AUTO | {"peak_flops": "much"})
