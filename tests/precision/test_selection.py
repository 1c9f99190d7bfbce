"""Which backend multiplies where, and the line a person reads when it cannot."""

import pytest
import torch

from deepseek_lab.config import ConfigError
from deepseek_lab.precision.recipe import FullPrecision
from deepseek_lab.precision.selection import backend_of, has_bf16_units, peak_format, surroundings
from precision_recipes import bf16, fp8

HOPPER, ADA, AMPERE, BLACKWELL = (9, 0), (8, 9), (8, 0), (10, 0)


@pytest.mark.parametrize(
    ("name", "native", "emulated"),
    [("fp8", [HOPPER], [ADA, AMPERE, BLACKWELL]), ("fp8_tensorwise", [HOPPER, ADA, BLACKWELL], [AMPERE])],
)
def test_a_card_is_chosen_by_its_capability(name, native, emulated):
    recipe = fp8(name, backend="auto")
    assert [backend_of(recipe, "cuda", c) for c in native] == ["native"] * len(native)
    assert [backend_of(recipe, "cuda", c) for c in emulated] == ["emulated"] * len(emulated)
    assert backend_of(recipe, "cpu") == "emulated"


@pytest.mark.parametrize(
    ("recipe", "device", "capability", "words"),
    [
        (fp8(backend="native"), "cpu", None, "compute capability 9.0, not a CPU"),
        (fp8(backend="native"), "cuda", AMPERE, "this card has 8.0"),
        (fp8("fp8_tensorwise", backend="native"), "cuda", AMPERE, "needs compute capability 8.9"),
        (fp8("fp8_block_gradients", backend="native"), "cuda", HOPPER, "blocks of 128x128"),
        (fp8(backend="native", accumulator="14_bit"), "cuda", HOPPER, "14-bit"),
    ],
)
def test_native_without_the_hardware_is_one_line_that_names_the_way_out(recipe, device, capability, words):
    with pytest.raises(ConfigError) as error:
        backend_of(recipe, device, capability)
    assert words in str(error.value)
    assert "precision.backend=emulated" in str(error.value)
    assert error.value.field == "backend"


@pytest.mark.parametrize(
    ("capabilities", "units"),
    [({"avx2": True, "avx512_bf16": False}, False), ({"avx512_bf16": True}, True), ({"bf16": True}, True), ({}, False)],
)
def test_bf16_on_a_cpu_is_native_only_with_units(monkeypatch, capabilities, units):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_bf16_units() == units
    recipe = bf16(backend="auto")
    assert backend_of(recipe, "cpu") == ("native" if units else "emulated")
    assert surroundings(recipe, "cpu") == ("bf16" if units else "fp32")
    assert surroundings(bf16(), "cpu") == "fp32", "an emulation that was asked for is the same on every CPU"
    assert backend_of(recipe, "cuda", HOPPER) == "native"
    if not units:
        with pytest.raises(ConfigError, match="bf16 units"):
            backend_of(bf16(backend="native"), "cpu")


def test_peaks_compare_across_recipes():
    assert peak_format(FullPrecision(name="fp32"), "cuda", HOPPER) == "fp32"
    assert peak_format(fp8(backend="auto"), "cuda", HOPPER) == peak_format(bf16(backend="auto"), "cuda", HOPPER)
    assert peak_format(fp8(), "cpu") == "fp32"


def test_torch_answers_what_this_cpu_can():
    assert has_bf16_units() in (True, False)
