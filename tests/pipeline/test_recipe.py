"""A recipe is refused, by the name of its step, for what could never run."""

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.pipeline.recipe import Recipe


def recipe(steps, **values):
    return Recipe.Config(
        **{
            "name": "toy",
            "title": "t",
            "seeds": [1],
            "common": [],
            "tests": {},
            "compare": {},
            "steps": steps,
            **values,
        }
    )


def test_needs_are_the_start_what_overrides_name_and_whose_cost_is_matched():
    made = recipe(
        {
            "a": {},
            "b": {},
            "c": {"start": "a", "overrides": ["x={steps.b}/f", "y={steps.a}"], "equal_flops": ["b"]},
        }
    ).build()
    assert made.steps["c"].needs == ["a", "b"]


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ({}, "one step"),
        ({"A": {}}, "small letters"),
        ({"a": {"start": "b"}, "b": {}}, "behind it"),
        ({"base": {}, "b": {"start": "bass"}}, "did you mean 'base'"),
        ({"base": {}, "b": {"overrides": ["p={steps.bse}/x"]}}, "did you mean 'base'"),
        ({"a": {"minuts": 1.0}}, "did you mean 'minutes'"),
        ({"a": {"minutes": 0.0}}, "steps.a.minutes"),
        ({"a": {"script": "tain"}}, "steps.a.script"),
        ({"a": {"tests": ["held"]}}, "names no test"),
        ({"a": {}, "b": {"script": "evaluate", "start": "a", "equal_flops": ["a"]}}, "belongs to a step that trains"),
        ({"a": 3}, "must be a mapping"),
    ],
)
def test_what_cannot_run_is_named(steps, said):
    with pytest.raises(ConfigError, match=said):
        recipe(steps)


def test_more_overrides_belong_to_a_step():
    with pytest.raises(ConfigError, match="did you mean 'base'"):
        recipe({"base": {}}, more={"bass": []})


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1]])
def test_seeds_differ(seeds):
    with pytest.raises(ConfigError, match="seeds"):
        recipe({"a": {}}, seeds=seeds)


def test_three_learning_rates_make_three_steps():
    made = recipe(
        {
            "base": {},
            "rl": {"start": "base", "what": "GRPO", "overrides": ["x=1"], "learning_rates": [1e-5, 1e-4, 1e-3]},
        },
        compare={"rl": ["base"], "base": ["rl"]},
    ).build()
    assert list(made.steps) == ["base", "rl_low", "rl_mid", "rl_high"]
    assert made.steps["rl_mid"].overrides == ["x=1", "optimizer.lr=0.0001"]
    assert made.steps["rl_mid"].what == "GRPO, learning rate 0.0001"
    assert made.compare == {
        **{arm: ["base"] for arm in ("rl_low", "rl_mid", "rl_high")},
        "base": ["rl_low", "rl_mid", "rl_high"],
    }


@pytest.mark.parametrize("rates", [[1e-4], [1e-5, 1e-4, float("nan")], [0.0, 1e-4, 1e-3]])
def test_learning_rates_are_three_numbers(rates):
    with pytest.raises(ConfigError, match=r"learning_rates must be three|must be a finite number"):
        recipe({"a": {"learning_rates": rates}})
