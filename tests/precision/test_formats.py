"""Rounding in fp32 arithmetic is torch's cast, to the bit."""

import pytest
import torch

from deepseek_lab.precision.formats import E4M3, E5M2, E5M6, FORMATS, power_of_two_above, round_to_format
from deepseek_lab.precision.formats import round_within_range as rounded

EVERY_BF16 = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16).float()


def random_bits(count=2**20):
    """fp32 numbers of every exponent, infinities and NaN among them."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(-(2**31), 2**31, (count,), generator=generator).to(torch.int32).view(torch.float32)


def in_range(count=2**20):
    """fp32 numbers from subnormals of e5m2 to above the range of e4m3."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, generator=generator) * (4 * torch.randn(count, generator=generator)).exp()


@pytest.mark.parametrize("form", [E4M3, E5M2], ids=lambda form: form.name)
@pytest.mark.parametrize("numbers", [EVERY_BF16, random_bits(), in_range()], ids=["bf16", "bits", "range"])
def test_equals_the_cast_to_the_bit(form, numbers):
    ours, cast = round_to_format(numbers, form), numbers.to(form.dtype).float()
    nan = numbers.isnan()
    assert torch.equal(ours.view(torch.int32)[~nan], cast.view(torch.int32)[~nan])
    assert ours[nan].isnan().all()


@pytest.mark.parametrize("form", [E4M3, E5M2], ids=lambda form: form.name)
def test_the_fast_path_equals_it_within_the_range(form):
    numbers = torch.cat((EVERY_BF16, in_range()))
    numbers = numbers[numbers.abs() <= form.max]
    assert torch.equal(rounded(numbers, form), numbers.to(form.dtype).float())


def test_a_unit_of_a_power_of_two_is_scaling_before_and_after():
    numbers = in_range(4096)
    for exponent in (-20, -3, 0, 7):
        unit = torch.tensor(2.0**exponent)
        assert torch.equal(rounded(numbers, E4M3, unit), rounded(numbers / unit, E4M3) * unit)


def test_result_and_work_may_be_given():
    numbers = in_range(1000)
    into, work = torch.empty_like(numbers), torch.empty_like(numbers)
    expected = rounded(numbers, E4M3)
    assert rounded(numbers, E4M3, into=into, work=work).data_ptr() == into.data_ptr()
    assert torch.equal(into, expected)
    rounded(numbers, E4M3, into=numbers)
    assert torch.equal(numbers, expected)


def test_e5m6_holds_its_own_grid_and_nothing_between():
    exponents, mantissas = torch.meshgrid(torch.arange(-14.0, 16), torch.arange(64.0), indexing="ij")
    grid = ((1 + mantissas / 64) * 2**exponents).flatten()
    assert grid.max() == E5M6.max
    assert torch.equal(rounded(grid, E5M6), grid)
    between = (grid[:-1] + grid[1:]) / 2
    ours = rounded(between, E5M6)
    even = ((ours / 2 ** torch.floor(torch.log2(ours)) * 64) % 2 == 0).all()
    assert even, "ties go to even"


@pytest.mark.parametrize("form", FORMATS.values(), ids=lambda form: form.name)
def test_smallest_numbers(form):
    smallest = torch.tensor([form.smallest, form.smallest * 0.5, form.smallest * 0.51])
    assert rounded(smallest, form).tolist() == [form.smallest, 0.0, form.smallest]


def test_power_of_two_above_is_exact():
    powers = 2.0 ** torch.arange(-100.0, 100)
    assert torch.equal(power_of_two_above(powers), powers)
    above = torch.nextafter(powers, torch.tensor(float("inf")))
    assert torch.equal(power_of_two_above(above), 2 * powers)
