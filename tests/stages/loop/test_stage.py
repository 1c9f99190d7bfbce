"""The shared loop: accumulation changes no gradient, curves are means, a bad number stops the run."""

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from deepseek_lab.stages.errors import TrainingError
from deepseek_lab.stages.loop.batches import StepBatch
from tiny_run import NO_BALANCE, Micro, TinyAdamW, TinyData, rows, tiny_stage, tiny_trainer


class OneStep:
    """What a stage reads of its trainer, without a trainer."""

    max_steps, world_size, log_every_n_steps = 10, 1, 1

    def __init__(self) -> None:
        self.strategy = None


def gradients(micro_batch_size: int, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Gradients in float64 of one step of 8 rows cut into micro-batches of a size."""
    data = TinyData(batch_size=8, micro_batch_size=micro_batch_size, seq_len=20)
    stage = tiny_stage(data=data).double()
    stage._trainer = OneStep()  # type: ignore[assignment]
    monkeypatch.setattr(type(stage), "manual_backward", lambda self, loss: loss.backward())
    batch = StepBatch(data.step_batch(3))
    stage._accumulate_gradients(batch, stage._totals(batch))
    return [p.grad for p in stage.model.parameters() if p.grad is not None]


def test_cutting_a_step_into_micro_batches_changes_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    # Isolated documents of random lengths: the micro-batches hold unequal numbers of targets.
    data = TinyData(batch_size=8, micro_batch_size=2, seq_len=20)
    stage = tiny_stage(data=data)
    counts = [stage.counts(micro)[:2].tolist() for micro in data.step_batch(3)]
    assert len({tuple(c) for c in counts}) > 1
    whole = gradients(8, monkeypatch)
    for size in (4, 2, 1):
        for ours, theirs in zip(gradients(size, monkeypatch), whole, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def test_the_step_is_the_plain_loop_written_out(tmp_path: Any) -> None:
    stage = tiny_stage(moe=False, depth=0, balance=NO_BALANCE, isolate_documents=False)
    tiny_trainer(tmp_path, max_steps=6, log_every=1).fit(stage)

    plain = tiny_stage(moe=False, depth=0, balance=NO_BALANCE)
    optimizer = TinyAdamW().build(plain.model)
    norms = []
    for step in range(6):
        tokens = torch.cat([micro.tokens_BT1 for micro in plain.data.step_batch(step)])
        optimizer.zero_grad()
        logits = plain.model(tokens[:, :-1]).logits
        nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        norms.append(float(nn.utils.clip_grad_norm_(plain.model.parameters(), 1.0)))
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * plain.schedule.factor(step, 6)
        optimizer.step()
    for ours, theirs in zip(stage.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    logged = [row["train/grad_norm"] for row in rows(tmp_path)]
    assert logged == pytest.approx(norms, rel=1e-4)


def test_rows_hold_means_over_the_steps_since_the_last(tmp_path: Any) -> None:
    (tmp_path / "each").mkdir()
    (tmp_path / "third").mkdir()
    tiny_trainer(tmp_path / "each", max_steps=9, log_every=1).fit(tiny_stage())
    tiny_trainer(tmp_path / "third", max_steps=9, log_every=3).fit(tiny_stage())
    each = {row["step"]: row for row in rows(tmp_path / "each") if "train/loss" in row}
    third = {row["step"]: row for row in rows(tmp_path / "third") if "train/loss" in row}
    assert sorted(third) == [1, 3, 6, 9]
    for name in ("train/loss", "train/loss_next_token", "train/grad_norm"):
        assert third[6][name] == pytest.approx(sum(each[s][name] for s in (4, 5, 6)) / 3, rel=1e-6)
        assert third[3][name] == pytest.approx(sum(each[s][name] for s in (2, 3)) / 2, rel=1e-6)


def test_the_last_step_is_validated_and_no_other_twice(tmp_path: Any) -> None:
    tiny_trainer(tmp_path, max_steps=12, validate_every=5).fit(tiny_stage())
    validated = [row["step"] for row in rows(tmp_path) if "val/loss" in row]
    assert validated == [5, 10, 12]
    assert len({row["step"] for row in rows(tmp_path)}) == len(rows(tmp_path))


def test_an_unknown_curve_is_refused(tmp_path: Any) -> None:
    with pytest.raises(KeyError, match="did you mean 'train/loss'"):
        tiny_stage().records.scalars({"train/los": 1.0})


class Poison(Callback):
    """Makes one module's output infinite in one step, for weights that stay what they are."""

    def __init__(self, step: int, module: str) -> None:
        self.step, self.module = step, module

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        def spoil(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            bad = pl_module.steps_done + 1 == self.step and pl_module.training
            return output * float("inf") if bad else output

        pl_module.model.get_submodule(self.module).register_forward_hook(spoil)


def test_a_loss_that_is_no_number_stops_with_step_and_layer_and_keeps_the_checkpoint(tmp_path: Any) -> None:
    module = "blocks.1.attention_norm"
    trainer = tiny_trainer(tmp_path, every=4, validate_every=100, callbacks=[Poison(10, module)])
    stage = tiny_stage(moe=False)
    with pytest.raises(TrainingError, match=r"step 10: .* output of blocks\.1\.attention_norm") as stop:
        trainer.fit(stage)
    assert "\n" not in str(stop.value)
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == [
        "step_00000004.ckpt",
        "step_00000008.ckpt",
    ]
    assert all(bool(weight.isfinite().all()) for weight in stage.model.parameters())


def test_a_bad_weight_is_named(tmp_path: Any) -> None:
    stage = tiny_stage(moe=False)
    with torch.no_grad():
        stage.model.blocks[1].ffn.down.weight[0, 0] = float("nan")  # type: ignore[union-attr,index]
    with pytest.raises(TrainingError, match=r"step 1: .* weight blocks\.1\.ffn\.down\.weight"):
        tiny_trainer(tmp_path).fit(stage)
    assert not (tmp_path / "checkpoints").exists()


def test_a_gradient_that_overflows_is_found_though_the_loss_is_finite(tmp_path: Any) -> None:
    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
            return grads[0] * float("inf")

    stage = tiny_stage(moe=False, depth=0)
    stage.model.blocks[0].register_forward_hook(lambda m, i, o: (Steep.apply(o[0]), o[1]))
    with pytest.raises(TrainingError, match=r"step 1: .* gradient of blocks\.0\.ffn\.down\.weight"):
        tiny_trainer(tmp_path).fit(stage)


def test_a_fused_optimizer_skips_bad_steps_until_they_are_read(tmp_path: Any) -> None:
    """The road a GPU takes, driven by hand: torch's fused AdamW honours `found_inf`."""
    stage = tiny_stage(moe=False)
    optimizer = stage.optimizer_config.build(stage.model)
    stage.bad_step.fill_(3)
    optimizer.found_inf = (stage.bad_step >= 0).float()  # type: ignore[attr-defined]
    before = [weight.detach().clone() for weight in stage.model.parameters()]
    for weight in stage.model.parameters():
        weight.grad = torch.full_like(weight, float("nan"))
    optimizer.step()
    assert all(torch.equal(old, new) for old, new in zip(before, stage.model.parameters(), strict=True))


def test_micro_batches_travel_as_they_are() -> None:
    micro = Micro(torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, 3, dtype=torch.long))
    assert StepBatch([micro]).to(torch.device("cpu")).micro_batches[0].tokens_BT1.shape == (1, 3)


def test_products_in_bf16_stay_near_fp32(tmp_path: Any) -> None:
    for name, precision in (("fp32", "32-true"), ("bf16", "bf16-mixed")):
        (tmp_path / name).mkdir()
        tiny_trainer(tmp_path / name, max_steps=10, precision=precision).fit(tiny_stage())
    ours, theirs = rows(tmp_path / "bf16")[-1], rows(tmp_path / "fp32")[-1]
    assert ours["val/loss"] != theirs["val/loss"]
    assert ours["val/loss"] == pytest.approx(theirs["val/loss"], rel=0.02)
