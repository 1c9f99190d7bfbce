"""Pretraining: its losses against plain cross-entropy, the bias rule, overfitting one batch."""

import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from deepseek_lab.config import ConfigError
from deepseek_lab.objectives.balance import balance_losses
from deepseek_lab.stages.held_out import evaluate
from deepseek_lab.stages.pretrain import PretrainStage
from tiny_run import NO_BALANCE, V3_BALANCE, TinyAdamW, TinyData, rows, tiny_stage, tiny_trainer


def plain_losses(stage: Any, micros: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Next-token and depth-1 loss of a step by torch's own cross-entropy on whole logits, and the balance loss."""
    main, ahead, balance, sequences = [], [], [], 0
    for micro in micros:
        tokens, document = micro.tokens_BT1, micro.document_BT1
        output = stage.model(tokens[:, :-1], document_BT=document[:, :-1], mtp=True)
        same = document[:, 1:] == document[:, :-1]
        main.append(cross_entropy(output.logits[same], tokens[:, 1:][same], reduction="none"))
        same = document[:, 2:] == document[:, :-2]
        ahead.append(cross_entropy(output.mtp_logits(1)[same], tokens[:, 2:][same], reduction="none"))
        per_layer = [balance_losses(r.affinity_BTE, r.chosen_BTK, None, stage.balance)[0] for r in output.routing]
        balance.append(torch.stack(per_layer).sum() * len(tokens))
        sequences += len(tokens)
    return torch.cat(main).mean(), torch.cat(ahead).mean(), torch.stack(balance).sum() / sequences


def test_losses_are_those_of_plain_cross_entropy(tmp_path: Any) -> None:
    stage = tiny_stage()
    micros = stage.data.step_batch(0)
    main, ahead, balance = (loss.item() for loss in plain_losses(stage, micros))
    tiny_trainer(tmp_path, max_steps=4, log_every=1).fit(stage)
    first = rows(tmp_path)[0]
    assert first["train/loss_next_token"] == pytest.approx(main, rel=1e-5)
    assert first["train/loss_mtp_1"] == pytest.approx(ahead, rel=1e-5)
    assert first["train/balance_loss"] == pytest.approx(balance, rel=1e-5)
    assert first["train/loss"] == pytest.approx(main + 0.3 * ahead + balance, rel=1e-5)


def test_bits_per_byte_divides_by_the_bytes_of_the_targets(tmp_path: Any) -> None:
    stage = tiny_stage(moe=False, depth=0, isolate_documents=False)
    n_bytes = torch.as_tensor(stage.data.token_bytes_V)
    tokens = torch.cat([micro.tokens_BT1 for micro in stage.data.step_batch(0)])
    per_target = n_bytes[tokens[:, 1:]].double().mean()
    tiny_trainer(tmp_path, max_steps=1).fit(stage)
    (row,) = rows(tmp_path)
    expected = row["train/loss_next_token"] / math.log(2) / float(per_target)
    assert row["train/bits_per_byte"] == pytest.approx(expected, rel=1e-6)


def test_validation_is_exact_over_batches_of_unequal_counts(tmp_path: Any) -> None:
    stage = tiny_stage()
    tiny_trainer(tmp_path, max_steps=5).fit(stage)
    stage.eval()
    nats, n_bytes = [], 0
    for micro in stage.data.validation_batches(2):
        tokens, document = micro.tokens_BT1, micro.document_BT1
        same = document[:, 1:] == document[:, :-1]
        logits = stage.model(tokens[:, :-1], document_BT=document[:, :-1]).logits
        nats.append(cross_entropy(logits[same], tokens[:, 1:][same], reduction="none").detach())
        n_bytes += int(torch.as_tensor(stage.data.token_bytes_V)[tokens[:, 1:][same]].sum())
    last = rows(tmp_path)[-1]
    assert last["val/loss"] == pytest.approx(float(torch.cat(nats).mean()), rel=1e-5)
    assert last["val/perplexity"] == pytest.approx(math.exp(last["val/loss"]), rel=1e-6)
    assert last["val/bits_per_byte"] == pytest.approx(float(torch.cat(nats).sum()) / math.log(2) / n_bytes, rel=1e-5)
    batches = stage.data.validation_batches(2)
    outside = evaluate(stage.model, batches, stage.data.token_bytes_V, isolate_documents=True)
    assert outside == {name: value for name, value in last.items() if name.startswith(("val/", "mtp/"))}


def test_acceptance_is_the_share_of_drafts_that_the_main_model_would_choose_too(tmp_path: Any) -> None:
    stage = tiny_stage(depth=2)
    tiny_trainer(tmp_path, max_steps=60, log_every=20).fit(stage)
    stage.eval()
    agreed, drafts = torch.zeros(2), torch.zeros(2)
    for micro in stage.data.validation_batches(2):
        tokens, document = micro.tokens_BT1[:, :-1], micro.document_BT1
        output = stage.model(tokens, document_BT=document[:, :-1], mtp=True)
        for k in (1, 2):
            for b, i in itertools.product(range(len(tokens)), range(tokens.shape[1] - k)):
                if document[b, i] == document[b, i + k + 1]:
                    drafts[k - 1] += 1
                    draft = output.mtp_logits(k)[b, i].argmax()
                    agreed[k - 1] += int(draft == output.logits[b, i + k].argmax())
    last = rows(tmp_path)[-1]
    assert 0 < agreed[0] < drafts[0], "a share of 0 or 1 would hide a shift"
    assert [last["mtp/acceptance_1"], last["mtp/acceptance_2"]] == pytest.approx((agreed / drafts).tolist())


def test_the_bias_moves_by_the_load_of_the_whole_step(tmp_path: Any) -> None:
    stage = tiny_stage()
    loads = 0
    for micro in stage.data.step_batch(0):
        output = stage.model(micro.tokens_BT1[:, :-1], document_BT=micro.document_BT1[:, :-1], mtp=True)
        loads = loads + torch.stack([r.load_E for r in output.routing])
    tiny_trainer(tmp_path, max_steps=1).fit(stage)
    # One validation followed the step; its tokens must not have moved a bias.
    for router, load in zip(stage.model.routers(), loads, strict=True):  # type: ignore[call-overload]
        expected = 0.01 * torch.sign(load.mean() - load)
        torch.testing.assert_close(router.selection_bias_E, expected)
        assert bool(expected.any())


def test_without_a_speed_the_bias_stays(tmp_path: Any) -> None:
    stage = tiny_stage(balance=NO_BALANCE)
    tiny_trainer(tmp_path, max_steps=3).fit(stage)
    assert all(not bool(router.selection_bias_E.any()) for router in stage.model.routers())
    assert "train/balance_loss" not in rows(tmp_path)[0]


def test_the_bias_rule_stops_where_its_config_says(tmp_path: Any) -> None:
    stage = tiny_stage(balance=dataclasses.replace(V3_BALANCE, bias_update_until=0.5))
    tiny_trainer(tmp_path, max_steps=8, log_every=1).fit(stage)
    norms = [row["moe/bias_norm"] for row in rows(tmp_path) if "moe/bias_norm" in row]
    assert norms[0] > 0
    assert norms[2] != norms[3] or norms[1] != norms[2]
    assert len(set(norms[3:])) == 1


@pytest.mark.parametrize(("moe", "depth"), [(False, 0), (True, 1)])
def test_one_batch_is_learnt_by_heart(tmp_path: Any, moe: bool, depth: int) -> None:
    class OneBatch(TinyData):
        def step_batch(self, k: int, rank: int = 0, world_size: int = 1) -> Any:
            return super().step_batch(0)

    stage = tiny_stage(moe, depth, OneBatch(), balance=NO_BALANCE, optimizer=TinyAdamW(lr=2e-2))
    tiny_trainer(tmp_path, max_steps=200, every=1000, validate_every=1000, log_every=50).fit(stage)
    # The first token of a row decides its stride only from the second on, so a little stays.
    assert rows(tmp_path)[0]["train/loss_next_token"] > 2.5
    assert rows(tmp_path)[-1]["train/loss_next_token"] < 0.1


def test_a_weight_below_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="mtp_weight"):
        PretrainStage.Config(mtp_weight=-0.1)
    with pytest.raises(ConfigError, match="mtp_late_from"):
        PretrainStage.Config(mtp_late_from=2.0)
