"""Samples are written at each validation and change nothing in the training."""

import json
from pathlib import Path

import torch

from deepseek_lab.callbacks.samples import Samples
from tiny_run import rows, tiny_stage, tiny_trainer


def test_samples_leave_the_run_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    stage = tiny_stage()
    modes = []

    def sampler() -> str:
        modes.append((stage.model.training, torch.is_grad_enabled()))
        return f"drew {torch.rand(())}"

    tiny_trainer(tmp_path / "with", max_steps=10, callbacks=[Samples(sampler)]).fit(stage)
    state = torch.get_rng_state()
    tiny_trainer(tmp_path / "without", max_steps=10).fit(tiny_stage())
    assert torch.equal(torch.get_rng_state(), state)
    assert rows(tmp_path / "with") == rows(tmp_path / "without")
    lines = [json.loads(line) for line in (tmp_path / "with" / "samples.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10]
    assert modes == [(False, False)] * 2
