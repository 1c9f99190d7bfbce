"""Every file of conf/ablation/: its jobs differ, are fair, can run, and each variant makes one step; in one process."""

import sysconfig
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

from deepseek_lab.command_line import PROJECT_ROOT, register_resolvers
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import Job, survey, task_config
from deepseek_lab.command_line.naming import job_hash, run_words
from deepseek_lab.experiment.checking import check
from deepseek_lab.experiment.configs import read_model
from deepseek_lab.metrics import describe
from deepseek_lab.planning.counts import count
from deepseek_lab.sweep.question import read_question
from one_step import one_step

ABLATIONS = sorted(path.stem for path in (PROJECT_ROOT / "conf" / "ablation").glob("*.yaml"))
TEXT = Path(sysconfig.get_paths()["stdlib"]) / "email"
TINY = (
    *("tokenizer=bytes", "trainer.max_steps=1", "trainer.validation_batches=1", "trainer.n_threads=1"),
    *("trainer.checkpoint_every=10", "seed=1"),
)
MIXED = ("data.corpus.sources.packages.packages=[hydra]", f"data.corpus.sources.code.folder={TEXT}")
COARSE: set[str] = set()
"""Ablations whose cut is too coarse for one percent and that raise `match.tolerance`; one may."""


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """One folder for all: they share the encoded text."""
    return tmp_path_factory.mktemp("ablations")


@pytest.fixture(scope="module")
def jobs_of(logs):
    """The jobs of an ablation with one seed on a little text, as Hydra composes them; once each."""
    register_resolvers()

    @cache
    def composed(name):
        text = MIXED if name == "data_mix" else (f"data.corpus.folder={TEXT}",)
        with Composer(PROJECT_ROOT / "conf", "train") as composer:
            return survey(composer, [f"ablation={name}", *TINY, *text, f"paths.cache={logs}/cache"], sweep=True)

    return composed


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_asks_a_fair_question_and_every_variant_takes_a_step(name, logs, jobs_of):
    jobs = jobs_of(name)
    assert [job.reason for job in jobs if not isinstance(job, Job)] == []
    assert len(jobs) == len({job_hash(job.config) for job in jobs}) >= 2
    question = read_question(jobs[0].config)
    assert question.question
    assert set(question.baseline) <= {line for job in jobs for line in job.overrides}, "the baseline is a variant"
    assert all(job.config.match.tolerance <= 0.01 for job in jobs) or name in COARSE
    for number, job in enumerate(jobs):
        check(task_config(job.config))
        summary = one_step(job, logs / f"{name}-{number}")
        assert all(describe(metric) and metric in summary["metrics"] for metric in question.metrics)
        if job.config.match.rule != "none":
            assert abs(summary["match"]["residual"]) <= job.config.match.tolerance


@pytest.mark.parametrize("name", ABLATIONS)
def test_seeds_stand_in_every_file(name):
    content = yaml.safe_load((PROJECT_ROOT / "conf" / "ablation" / f"{name}.yaml").read_text())
    assert len(content["hydra"]["sweeper"]["params"]["seed"].split(",")) >= 3


def test_a_typed_value_replaces_an_axis():
    register_resolvers()
    with Composer(PROJECT_ROOT / "conf", "train") as composer:
        jobs = survey(composer, ["ablation=attention", "attention=mha,mla", "seed=1,2", "match=none"], sweep=True)
    assert [job.words for job in jobs] == [f"attention={a} seed={s}" for a in ("mha", "mla") for s in (1, 2)]


def test_at_most_one_ablation_is_coarse():
    assert len(COARSE) <= 1


@pytest.mark.parametrize("name", ["granularity", "shared_experts"])
def test_experts_are_equal_in_all_parameters_too(name, jobs_of):
    """The dense layer makes up for the router; total and active differ by less than one percent."""
    with torch.device("meta"):
        counts = [count(read_model(job.config).build(), 128) for job in jobs_of(name)]
    for size in ("total_params", "active_params"):
        sizes = [getattr(one, size) for one in counts]
        assert max(sizes) / min(sizes) <= 1.01


@pytest.mark.parametrize("name", ABLATIONS)
def test_runs_are_named_in_words(name, jobs_of):
    names = [run_words(job.words.split()) for job in jobs_of(name)]
    assert len(set(names)) == len(names)
    assert all("=" not in name and len(name) < 60 for name in names)
