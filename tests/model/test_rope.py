"""Rotations: relative, norm-keeping, the same under both layouts, and YaRN's closed-form temperature."""

import math

import pytest
import torch

from deepseek_lab.config import ConfigError
from deepseek_lab.model.rope import RopeConfig, frequencies, rotate, rotation_table

R, TIME = 12, 9


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def table(config=None, start=0):
    return rotation_table(config or RopeConfig(), R, torch.arange(start, start + TIME)[None])


@pytest.mark.parametrize("layout", ["interleaved", "half_split"])
def test_scores_depend_on_the_distance_only(layout):
    q, k = drawn(1, TIME, 2, R), drawn(1, TIME, 2, R)

    def scores(start):
        turned = [rotate(x, table(start=start), layout) for x in (q, k)]
        return torch.einsum("bthr,bshr->bhts", *turned)

    torch.testing.assert_close(scores(0), scores(57), atol=1e-4, rtol=0)
    assert not torch.allclose(scores(0), torch.einsum("bthr,bshr->bhts", q, k), atol=0.1)


def test_layouts_are_one_permutation_apart():
    x = drawn(2, TIME, 3, R)
    evens_then_odds = torch.cat((torch.arange(0, R, 2), torch.arange(1, R, 2)))
    interleaved = rotate(x, table(), "interleaved")[..., evens_then_odds]
    torch.testing.assert_close(rotate(x[..., evens_then_odds], table(), "half_split"), interleaved, atol=1e-6, rtol=0)


@pytest.mark.parametrize("layout", ["interleaved", "half_split"])
def test_turning_is_the_rotation_matrix(layout):
    x = drawn(1, TIME, 1, R)
    turned = rotate(x, table(), layout)
    pair = (0, 1) if layout == "interleaved" else (0, R // 2)  # the fastest pair turns one radian a position
    for p in range(TIME):
        a, b = (x[0, p, 0, i].item() for i in pair)
        wanted = (a * math.cos(p) - b * math.sin(p), b * math.cos(p) + a * math.sin(p))
        got = tuple(turned[0, p, 0, i].item() for i in pair)
        assert got == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("layout", ["interleaved", "half_split"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_keeps_dtype_and_length(layout, dtype):
    x = drawn(1, TIME, 2, R).to(dtype)
    turned = rotate(x, table(), layout)
    assert turned.dtype == dtype
    torch.testing.assert_close(turned.float().norm(dim=-1), x.float().norm(dim=-1), atol=0.03, rtol=0.01)


@pytest.mark.parametrize(
    ("mscale", "softmax_scale"),
    [(1.0, 0.13523), (0.707, 0.11472)],  # V3 and V2 with factor 40 and heads of 128 + 64
)
def test_yarn_softmax_scale_of_the_released_models(mscale, softmax_scale):
    config = RopeConfig(type="yarn", factor=40.0, mscale=mscale, mscale_all_dim=mscale)
    assert 192**-0.5 * config.softmax_factor == pytest.approx(softmax_scale, abs=5e-6)
    assert config.rotation_factor == 1.0


def test_yarn_without_mscale_all_dim_scales_the_rotation():
    config = RopeConfig(type="yarn", factor=40.0)
    assert config.softmax_factor == 1.0
    assert config.rotation_factor == pytest.approx(0.1 * math.log(40) + 1)
    torch.testing.assert_close(table(config).abs(), torch.full((1, TIME, R // 2), config.rotation_factor))


def test_yarn_keeps_fast_turners_and_stretches_slow_ones():
    plain, yarn = (frequencies(c, 64) for c in (RopeConfig(), RopeConfig(type="yarn", factor=40.0)))
    ratio = plain / yarn
    assert ratio[0] == pytest.approx(1.0)
    assert ratio[-1] == pytest.approx(40.0)
    assert (ratio.diff() >= -1e-3).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"theta": 1.0}, "theta must be above 1, not 1.0"),
        ({"factor": 0.5}, "factor must be at least 1, not 0.5"),
        ({"original_max_seq_len": 0}, "original_max_seq_len must be at least 1, not 0"),
        ({"type": "ntk"}, "type must be one of default, linear, llama3, yarn, not 'ntk'"),
    ],
)
def test_refusals_name_the_field(change, message):
    with pytest.raises(ConfigError) as refusal:
        RopeConfig(**change)
    assert str(refusal.value) == message


@pytest.mark.parametrize("layout", ["interleaved", "half_split"])
def test_channels_may_begin_at_an_odd_place(layout):
    whole = drawn(2, TIME, 1, 5 + R).requires_grad_()
    odd = rotate(whole[..., 5:], table(), layout)
    even = rotate(whole[..., 5:].clone(), table(), layout)
    torch.testing.assert_close(odd, even)
    slope = drawn(2, TIME, 1, R + 3)[..., 3:]
    torch.testing.assert_close(*(torch.autograd.grad(y, whole, slope)[0] for y in (odd, even.clone())))
