"""Every attention and both FFNs take a step in every precision: a sweep in one process."""

import math
import sysconfig
from pathlib import Path

import pytest

from deepseek_lab.command_line import PROJECT_ROOT, register_resolvers
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import Job, survey
from one_step import one_step

TEXT = Path(sysconfig.get_paths()["stdlib"]) / "email"
PRECISIONS = "fp32,bf16,fp8"


@pytest.mark.parametrize("more", ["precision.backend=emulated", "precision.backend=auto"])
def test_a_sweep_over_precisions_attentions_and_ffns(tmp_path, more):
    register_resolvers()
    axes = [f"precision={PRECISIONS}", "attention=mha,mqa,gqa,mla", "ffn=dense,moe", more]
    if more.endswith("auto"):
        axes[1:3] = ["attention=mla", "ffn=moe"]
    short = ["tokenizer=bytes", "trainer.max_steps=1", "trainer.validation_batches=1", "trainer.n_threads=1"]
    text = [f"data.corpus.folder={TEXT}", f"paths.cache={tmp_path}/cache", "data.seq_len=64"]
    with Composer(PROJECT_ROOT / "conf", "train") as composer:
        jobs = survey(composer, [*axes, *short, *text], sweep=True)
    assert all(isinstance(job, Job) for job in jobs)
    assert len(jobs) == (24 if more.endswith("emulated") else 3)
    losses = {}
    for number, job in enumerate(jobs):
        summary = one_step(job, tmp_path / str(number))
        losses[job.words] = summary["metrics"]["val/loss"]
    assert all(math.isfinite(loss) for loss in losses.values())
    assert len(set(losses.values())) == len(jobs), "every precision computes its own numbers"
