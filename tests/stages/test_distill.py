"""Distillation: its loss by hand, cut steps, a student that becomes its teacher, resumption, a swapped teacher."""

import dataclasses
import json
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.data.conversation_packing import AnsweredBatch
from deepseek_lab.stages.distill import DistillStage
from deepseek_lab.stages.distill_config import DistillConfig
from tiny_run import NO_BALANCE, V3_BALANCE, TinyAdamW, TinyData, Warmup, rows, tiny_config, tiny_stage, tiny_trainer


class Answered(TinyData):
    """Tiny rows of which the assistant says the even places."""

    def _answered(self, micro: Any) -> AnsweredBatch:
        said = (torch.arange(micro.tokens_BT1.shape[1]) % 2 == 0).expand_as(micro.tokens_BT1)
        return AnsweredBatch(micro.tokens_BT1, micro.document_BT1, said)

    def step_batch(self, k: int, rank: int = 0, world_size: int = 1) -> Any:
        return [self._answered(micro) for micro in super().step_batch(k, rank, world_size)]

    def validation_batches(self, limit: int | None, rank: int = 0, world_size: int = 1) -> Any:
        return (self._answered(micro) for micro in super().validation_batches(limit, rank, world_size))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of pretraining."""
    folder = tmp_path_factory.mktemp("teacher")
    tiny_trainer(folder, max_steps=30, every=30).fit(tiny_stage(moe=False, depth=0, optimizer=TinyAdamW(lr=0.02)))
    return str(folder)


def student(teacher: str, moe: bool = False, micro: int = 2, balance: Any = NO_BALANCE, **knobs: Any) -> DistillStage:
    torch.manual_seed(7)
    return DistillConfig(teacher=teacher, **knobs).build(
        tiny_config(moe, depth=0).build(),
        Answered(micro_batch_size=micro),
        balance,
        isolate_documents=True,
        optimizer=TinyAdamW(lr=0.01),
        schedule=Warmup(),
        seed=1,
        validation_batches=2,
    )


@pytest.mark.parametrize(("weight", "temperature"), [(1.0, 1.0), (0.25, 2.0)])
def test_the_first_step_is_the_formula(teacher: str, tmp_path: Any, weight: float, temperature: float) -> None:
    stage = student(teacher, soft_weight=weight, temperature=temperature)
    soft, hard, count = 0.0, 0.0, 0
    for micro in stage.data.step_batch(0):
        ids, document = micro.tokens_BT1[:, :-1], micro.document_BT1
        valid = (document[:, 1:] == document[:, :-1]) & micro.answer_BT1[:, 1:]
        ours, theirs = (m(ids, document_BT=document[:, :-1]).logits[valid] for m in (stage.model, stage._teacher[0]))
        log_q, p = (ours / temperature).log_softmax(-1), (theirs / temperature).softmax(-1)
        soft += temperature**2 * kl_div(log_q, p, reduction="sum").item()
        hard += cross_entropy(ours, micro.tokens_BT1[:, 1:][valid], reduction="sum").item()
        count += int(valid.sum())
    tiny_trainer(tmp_path, max_steps=1).fit(stage)
    (row,) = rows(tmp_path)
    assert row["train/divergence"] == pytest.approx(soft / count, rel=1e-4)
    assert row["train/loss_next_token"] == pytest.approx(hard / count, rel=1e-4)
    assert row["train/loss"] == pytest.approx((weight * soft + (1 - weight) * hard) / count, rel=1e-4)


def test_cutting_a_step_changes_no_gradient(teacher: str) -> None:
    gradients = []
    for size in (1, 2, 4):
        stage = student(teacher, micro=size, soft_weight=0.5).double()
        stage._teacher[0].double()
        micros = stage.data.step_batch(0)
        totals = torch.stack([stage.counts(micro) for micro in micros]).sum(0)
        stage.mtp_weight_at = lambda step: 0.0  # type: ignore[method-assign]
        for micro in micros:
            stage.micro_loss(micro, totals)[0].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in stage.model.parameters() if p.grad is not None]))
    for cut in gradients[1:]:
        torch.testing.assert_close(cut, gradients[0], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("moe", [False, True])
def test_a_student_approaches_its_teacher(teacher: str, tmp_path: Any, moe: bool) -> None:
    stage = student(teacher, moe=moe, balance=V3_BALANCE if moe else NO_BALANCE)
    before = {k: v.clone() for k, v in stage._teacher[0].state_dict().items()}
    tiny_trainer(tmp_path, max_steps=40, log_every=1).fit(stage)
    values = [row["train/divergence"] for row in rows(tmp_path) if "train/divergence" in row]
    assert sum(values[-5:]) < 0.5 * sum(values[:5])
    assert all(torch.equal(before[k], v) for k, v in stage._teacher[0].state_dict().items())
    assert not any("teacher" in name for name in stage.state_dict())


def test_a_resumed_run_is_the_one_that_was_never_stopped(teacher: str, tmp_path: Any) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    tiny_trainer(whole, max_steps=6, log_every=1).fit(student(teacher))
    first = tiny_trainer(parts, max_steps=6, every=3, log_every=1)
    stage = student(teacher)
    first.fit(stage)
    (parts / "checkpoints" / "step_00000006.ckpt").unlink()
    again = student(teacher)
    resumed = tiny_trainer(tmp_path / "again", max_steps=6, every=3, log_every=1)
    resumed.fit(again, ckpt_path=parts / "checkpoints" / "step_00000003.ckpt")
    for ours, theirs in zip(again.model.parameters(), stage.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert json.dumps(again.records.latest["train/divergence"]) == json.dumps(stage.records.latest["train/divergence"])


def test_a_run_does_not_go_on_with_another_teacher(teacher: str, tmp_path: Any) -> None:
    folder = tmp_path / "other"
    tiny_trainer(folder, max_steps=1, every=1).fit(tiny_stage(moe=False, depth=0, seed=5))
    tiny_trainer(tmp_path / "run", max_steps=2, every=1).fit(student(teacher))
    with pytest.raises(DataError, match="its teacher is"):
        tiny_trainer(tmp_path / "again", max_steps=4).fit(
            student(str(folder)), ckpt_path=tmp_path / "run" / "checkpoints" / "step_00000002.ckpt"
        )


def test_impossible_choices_are_refused(teacher: str) -> None:
    with pytest.raises(ConfigError, match="temperature"):
        DistillConfig(teacher="x", temperature=0.0)
    with pytest.raises(ConfigError, match="soft_weight"):
        DistillConfig(teacher="x", soft_weight=1.5)
    other = dataclasses.replace(tiny_config(False, 0), vocab_size=20).build()
    with pytest.raises(ConfigError, match="vocab_size"):
        DistillConfig(teacher=teacher).build(other, Answered(), NO_BALANCE)
