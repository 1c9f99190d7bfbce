"""`precision=auto` is written out where a run begins, and stays what it was wherever it goes on."""

from pathlib import Path

import pytest

from deepseek_lab.command_line import register_resolvers
from deepseek_lab.command_line.composition import composer_of
from deepseek_lab.command_line.entry import with_precision
from deepseek_lab.command_line.jobs import expand
from deepseek_lab.command_line.naming import job_hash
from deepseek_lab.experiment.configs import read_configs
from deepseek_lab.precision import selection


def written_out(*overrides):
    register_resolvers()
    with composer_of("train") as composer:
        job = expand(composer, ["model=nano", *overrides], sweep=False)[0]
        return with_precision(composer, job, Path(str(job.config.hydra.run.dir)))


def test_a_cpu_takes_fp32_and_the_job_is_the_one_that_was_typed_so():
    job = written_out()
    assert job.overrides[-1] == "precision=fp32"
    assert job_hash(job.config) == job_hash(written_out("precision=fp32").config)
    assert read_configs(job.config).precision.name == "fp32"


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_gpu_takes_bf16_where_it_multiplies_it(monkeypatch, supported, expected):
    monkeypatch.setattr(selection.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(selection.torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert written_out("trainer=gpu").overrides[-1] == f"precision={expected}"


def test_a_run_that_goes_on_keeps_what_it_began_with(tmp_path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "hydra.yaml").write_text("hydra: {runtime: {choices: {precision: bf16}}}")
    assert written_out(f"hydra.run.dir={tmp_path}").overrides[-1] == "precision=bf16"


def test_the_recipe_is_that_of_the_option():
    with composer_of("train") as composer:
        shipped = read_configs(composer.compose(["model=nano", "precision=bf16"])).precision
        found = read_configs(composer.compose(["model=nano"]), "cuda").precision
    assert found == shipped
