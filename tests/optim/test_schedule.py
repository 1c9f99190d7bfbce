"""Schedules hit their published values at the boundaries and follow their closed forms between."""

import math

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.optim.schedule import Constant, Cosine, DeepSeekV3, MultiStep, WarmupStableDecay

V3 = {
    "warmup_until": 0.01,
    "peak_until": 10 / 14.8,
    "cosine_until": 14.3 / 14.8,
    "low_until": 14.633 / 14.8,
    "low_fraction": 0.1,
    "final_fraction": 7.3e-6 / 2.2e-4,
}
LLM = {"warmup_steps": 20, "milestones": [0.8, 0.9], "fractions": [0.316, 0.1]}
WSD = {"warmup_steps": 20, "stable_until": 0.9, "final_fraction": 0.1}


def curve(config, max_steps):
    """All factors of a run."""
    return [config.factor(step, max_steps) for step in range(max_steps)]


def test_constant():
    assert curve(Constant.Config(warmup_steps=4), 6) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert curve(Constant.Config(warmup_steps=0), 2) == [1.0, 1.0]


def test_cosine_boundaries():
    factors = curve(Cosine.Config(warmup_steps=10, final_fraction=0.1), 110)
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == 1.0
    assert factors[59] == pytest.approx(0.55)
    assert factors[109] == pytest.approx(0.1)
    assert factors == sorted(factors[:10]) + sorted(factors[10:], reverse=True)


def test_cosine_closed_form():
    config = Cosine.Config(warmup_steps=3, final_fraction=0.2)
    for step in range(3, 20):
        share = (step + 1 - 3) / (20 - 3)
        assert config.factor(step, 20) == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi * share)) / 2)


def test_deepseek_v3_phases():
    factors = curve(DeepSeekV3.Config(**V3), 14_800)
    assert factors[0] == pytest.approx(1 / 148)
    assert factors[147:10_000] == [1.0] * 9_853
    assert factors[10_000] < 1.0
    assert factors[12_149] == pytest.approx(0.55)
    assert factors[14_299:14_633] == pytest.approx([0.1] * 334)
    assert factors[14_633:] == pytest.approx([7.3 / 220] * 167)


def test_multi_step_of_deepseek_llm():
    """2,000 steps of warm-up; 31.6% of the peak from 80% of the tokens on, 10% from 90% on."""
    factors = curve(MultiStep.Config(**LLM | {"warmup_steps": 2000}), 10_000)
    assert factors[:2000] == pytest.approx([(n + 1) / 2000 for n in range(2000)])
    assert factors[2000:8000] == [1.0] * 6000
    assert factors[8000:9000] == [0.316] * 1000
    assert factors[9000:] == [0.1] * 1000


def test_multi_step_takes_any_number_of_steps_down():
    config = MultiStep.Config(warmup_steps=0, milestones=[0.2, 0.5, 0.5, 0.9], fractions=[0.5, 0.4, 0.3, 1.0])
    assert curve(config, 10) == [1.0, 1.0, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3, 1.0]
    assert curve(MultiStep.Config(warmup_steps=2, milestones=[], fractions=[]), 4) == [0.5, 1.0, 1.0, 1.0]


def test_a_step_down_inside_the_warmup_scales_it():
    config = MultiStep.Config(warmup_steps=4, milestones=[0.2], fractions=[0.5])
    assert curve(config, 10)[:5] == [0.25, 0.5, 0.375, 0.5, 0.5]


def test_warmup_stable_decay_closed_form():
    factors = curve(WarmupStableDecay.Config(**WSD), 1000)
    assert factors[:20] == pytest.approx([(n + 1) / 20 for n in range(20)])
    assert factors[20:900] == [1.0] * 880
    assert factors[900:] == pytest.approx([1.0 - 0.9 * (n + 1) / 100 for n in range(100)])
    assert factors[-1] == pytest.approx(0.1)


@pytest.mark.parametrize("max_steps", [1, 2, 3, 19])
@pytest.mark.parametrize(
    "config",
    [
        Constant.Config(warmup_steps=20),
        Cosine.Config(warmup_steps=20, final_fraction=0.1),
        MultiStep.Config(**LLM),
        WarmupStableDecay.Config(**WSD),
        WarmupStableDecay.Config(warmup_steps=0, stable_until=1.0, final_fraction=0.5),
        DeepSeekV3.Config(**V3),
        DeepSeekV3.Config(**V3 | {"warmup_until": 0.0, "peak_until": 0.0, "cosine_until": 0.0, "low_until": 0.0}),
    ],
)
def test_short_runs_learn(config, max_steps):
    """A smoke run shorter than the warm-up has a positive rate in every step and no more than the peak."""
    assert all(0 < factor <= 1 for factor in curve(config, max_steps))


def test_a_long_warmup_is_clipped_to_the_run():
    assert curve(Constant.Config(warmup_steps=2000), 4) == [0.25, 0.5, 0.75, 1.0]
    assert curve(Cosine.Config(warmup_steps=2000, final_fraction=0.1), 4) == [0.25, 0.5, 0.75, 1.0]


def test_after_the_run_the_final_value_holds():
    assert Cosine.Config(warmup_steps=2, final_fraction=0.1).factor(50, 10) == pytest.approx(0.1)
    assert DeepSeekV3.Config(**V3).factor(50, 10) == pytest.approx(7.3 / 220)


@pytest.mark.parametrize(
    ("config", "values", "field"),
    [
        (Constant.Config, {"warmup_steps": -1}, "warmup_steps"),
        (Cosine.Config, {"warmup_steps": 1.5, "final_fraction": 0.1}, "warmup_steps"),
        (Cosine.Config, {"warmup_steps": 1, "final_fraction": 1.1}, "final_fraction"),
        (MultiStep.Config, LLM | {"fractions": [0.5]}, "fractions"),
        (MultiStep.Config, LLM | {"fractions": [0.5, 1.5]}, "fractions"),
        (MultiStep.Config, LLM | {"milestones": [0.9, 0.8]}, "milestones"),
        (MultiStep.Config, LLM | {"milestones": ["half", 0.8]}, "milestones"),
        (WarmupStableDecay.Config, WSD | {"stable_until": 1.1}, "stable_until"),
        (WarmupStableDecay.Config, WSD | {"warmup_steps": -1}, "warmup_steps"),
        (DeepSeekV3.Config, V3 | {"peak_until": 0.99}, "cosine_until"),
        (DeepSeekV3.Config, V3 | {"low_fraction": -0.1}, "low_fraction"),
    ],
)
def test_bad_configs(config, values, field):
    with pytest.raises(ConfigError) as error:
        config(**values)
    assert error.value.field == field
