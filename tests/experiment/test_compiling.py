"""Blocks are compiled where it can pay and where they can be; whoever insists elsewhere is told why not."""

import pytest

from deepseek_lab.command_line import register_resolvers
from deepseek_lab.command_line.composition import composer_of
from deepseek_lab.config import ConfigError
from deepseek_lab.experiment.compiling import WORTH_STEPS, check_compile, compiles
from deepseek_lab.experiment.configs import read_configs


def configs(*overrides):
    register_resolvers()
    with composer_of("train") as composer:
        return read_configs(composer.compose(["model=nano", *overrides]))


LONG, SHORT = f"trainer.max_steps={WORTH_STEPS}", f"trainer.max_steps={WORTH_STEPS - 1}"


@pytest.mark.parametrize(
    ("overrides", "device", "expected"),
    [
        ([LONG], "cuda", True),
        ([SHORT], "cuda", False),
        ([LONG], "cpu", False),
        ([LONG, "trainer.recompute=v3"], "cuda", False),
        ([LONG, "data.isolate_documents=true"], "cuda", False),
        ([LONG, "precision=fp8"], "cuda", False),
        ([LONG, "precision=bf16", "precision.backend=emulated"], "cuda", False),
        ([LONG, "precision=bf16", "precision.backend=native"], "cuda", True),
        ([SHORT, "trainer.compile=always"], "cpu", True),
        ([LONG, "trainer.compile=never"], "cuda", False),
    ],
)
def test_auto_asks_the_steps_the_device_and_the_rest(overrides, device, expected):
    assert compiles(configs(*overrides), device) is expected


@pytest.mark.parametrize(
    "other", [["trainer.recompute=block"], ["precision=fp8"], ["precision=bf16", "precision.backend=emulated"]]
)
def test_what_excludes_it_is_named(other):
    with pytest.raises(ConfigError, match=f"always and {other[0]} exclude"):
        check_compile(configs("trainer.compile=always", *other), "cpu")
