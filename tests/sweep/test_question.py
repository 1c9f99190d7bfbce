"""What an ablation asks is checked like every other config, and absent from runs that ask nothing."""

import pytest
from omegaconf import OmegaConf

from deepseek_lab.config import ConfigError
from deepseek_lab.sweep.question import baseline_of, read_question


def asked(**values):
    return OmegaConf.create({"ablation": values})


def test_what_stands_there_is_read():
    config = asked(question="which?", baseline=["attention=mha"], metrics=["val/loss", "moe/load_max_over_mean"])
    assert read_question(config).question == "which?"
    assert baseline_of(config) == ["attention=mha"]


@pytest.mark.parametrize("config", [OmegaConf.create({}), OmegaConf.create({"ablation": None}), asked(question=None)])
def test_nobody_asked(config):
    assert read_question(config).metrics is None
    assert baseline_of(config) == []


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"baseline": ["mha"]}, "ablation.baseline must hold overrides like attention=mha, not 'mha'"),
        ({"baseline": "attention=mha"}, "ablation.baseline must be list"),
        ({"metrics": ["val/los"]}, "ablation.metrics names no curve 'val/los' in metrics.py; did you mean 'val/loss'?"),
    ],
)
def test_a_question_that_nobody_can_answer(values, line):
    with pytest.raises(ConfigError) as error:
        read_question(asked(**values))
    assert str(error.value).startswith(line)
