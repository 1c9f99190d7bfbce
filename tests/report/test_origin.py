"""Where runs come from, and how they are made again."""

import json
import os

import pytest

from deepseek_lab.command_line import PROJECT_ROOT, register_resolvers
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import expand, is_sweep
from deepseek_lab.report.origin import command, read_origin
from deepseek_lab.report.reproduction import older_source, source_warnings
from deepseek_lab.report.runs import read_runs


def made_with(folder, commit, dirty=False, resumed=(), **source):
    states = [{"source": {"commit": other, "dirty": False}} for other in resumed]
    content = {"source": {"commit": commit, "dirty": dirty, **source}, "resumed": states}
    (folder / "provenance.json").write_text(json.dumps(content))
    return folder


def test_commit_and_changes_are_named(runs):
    folder = runs.add()
    assert read_origin(folder).words == "unknown"
    assert read_origin(made_with(folder, "a" * 40)).words == "aaaaaaa"
    assert read_origin(made_with(folder, "a" * 40, dirty=True)).words == "aaaaaaa + changes"
    assert read_origin(made_with(folder, "a" * 40, resumed=["b" * 40])).words == "aaaaaaa, went on with another"
    (folder / "provenance.json").write_text("{")
    assert read_origin(folder).words == "unknown"


def test_runs_of_an_older_source_are_marked(runs):
    first = made_with(runs.add("mha"), "a" * 40)
    second = made_with(runs.add("mla"), "b" * 40)
    os.utime(first / "DONE", (1, 1))
    finished, _ = read_runs(runs.folder)
    assert [run.folder for run in older_source(finished)] == [first.resolve()]
    assert "1 of 2 runs were made by another state" in source_warnings(finished)[0]
    made_with(second, "a" * 40)
    assert source_warnings(read_runs(runs.folder)[0]) == []
    made_with(second, "a" * 40, dirty=True)
    assert source_warnings(read_runs(runs.folder)[0]) == [
        "1 of 2 runs were made with changed files, which their commit does not hold."
    ]


def test_a_hash_of_the_source_is_asked_before_its_commit(runs):
    made_with(runs.add("mha"), "a" * 40, hash="x")
    made_with(runs.add("mla"), "b" * 40, hash="x")
    assert older_source(read_runs(runs.folder)[0]) == []


def test_a_command_leaves_out_where_a_run_was_kept():
    typed = ["attention=mla", "sweep=a", "paths.logs=/x", "resume=auto", "data.files=[a b,c]"]
    assert command(typed) == "python scripts/train.py attention=mla 'data.files=[a b,c]'"


@pytest.mark.parametrize("ablation", ["attention", "ffn"])
def test_the_command_of_an_ablations_job_is_that_one_job(ablation):
    register_resolvers()
    with Composer(PROJECT_ROOT / "conf", "train") as composer:
        job = expand(composer, [f"ablation={ablation}", "sweep=x"], sweep=True)[-1]
        words = command(job.overrides).split()[2:]
        assert not is_sweep(composer, words, multirun=False)
        assert is_sweep(composer, words[:-1], multirun=False), "the last word is what keeps it from being one"
        again = composer.compose(words)
        assert all(again[group] == job.config[group] for group in ("model", "attention", "ffn", "seed"))
