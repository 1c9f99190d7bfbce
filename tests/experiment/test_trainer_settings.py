"""What of a run is profiled: every knob stands in conf/train.yaml, and a run too short for it is refused."""

from dataclasses import asdict

import pytest

from deepseek_lab.command_line import PROJECT_ROOT, register_resolvers
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import task_config
from deepseek_lab.command_line.naming import job_hash
from deepseek_lab.config import ConfigError
from deepseek_lab.experiment import check
from deepseek_lab.experiment.configs import read_configs
from deepseek_lab.experiment.trainer_settings import ProfileSettings


@pytest.fixture(scope="module")
def composed():
    register_resolvers()
    with Composer(PROJECT_ROOT / "conf", "train") as composer:
        yield lambda *overrides: task_config(composer.compose([*overrides, "trainer.accelerator=cpu"]))


def test_the_knobs_of_the_profile_stand_in_the_yaml_with_their_defaults(composed):
    assert dict(composed().profile) == asdict(ProfileSettings())


def test_debug_profile_records_steps_that_the_run_has(composed):
    configs = read_configs(composed("debug=profile"))
    assert 0 < configs.profile.steps <= configs.trainer.max_steps - configs.profile.warmup
    check(composed("debug=profile"))


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("trainer.max_steps=3", "profile.warmup = 3 leaves none of trainer.max_steps = 3"),
        ("profile.steps=-1", "profile.steps must not be negative, not -1"),
        ("profile.rows=0", "profile.rows must be at least 1, not 0"),
    ],
)
def test_what_cannot_be_profiled_is_refused_in_one_line(composed, override, line):
    with pytest.raises(ConfigError) as refusal:
        check(composed("debug=profile", override))
    assert str(refusal.value) == line


def test_a_config_from_before_the_profile_is_read(composed):
    old = composed()
    del old.profile
    assert read_configs(old).profile.steps == 0


def test_a_profile_makes_no_other_job(composed):
    assert job_hash(composed("profile.steps=2")) == job_hash(composed())
