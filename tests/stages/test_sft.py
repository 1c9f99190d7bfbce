"""Fine-tuning: its loss by torch's own, packed as unpacked, however a step is cut, resumed to the bit."""

import shutil
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from deepseek_lab.checkpoint.located import checkpoint_name, latest_checkpoint
from deepseek_lab.data.conversation_packing import PADDING
from tiny_conversations import sft_stage, tiny_conversations
from tiny_run import NO_BALANCE, V3_BALANCE, rows, tiny_trainer


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tmp_path_factory.mktemp("cache")


def gradients(stage: Any, micros: Any, folder: Any) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
    """All gradients of one step in a row, in float64, and the load of every router."""
    stage.double().trainer = tiny_trainer(folder)
    totals = torch.stack([stage.counts(micro) for micro in micros]).sum(0)
    for micro in micros:
        stage.micro_loss(micro, totals)[0].backward()
    flat = [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in stage.model.parameters()]
    return torch.cat(flat), dict(stage._loads.sums)


def test_the_loss_is_the_mean_over_what_the_assistant_says(cache: Any, tmp_path: Any) -> None:
    stage = sft_stage(tiny_conversations(cache), mtp_weight=0.3)
    (micro,) = stage.data.step_batch(0)
    output = stage.model(micro.tokens_BT1[:, :-1], document_BT=micro.document_BT1[:, :-1], mtp=True)
    said = micro.answer_BT1
    main = cross_entropy(output.logits[said[:, 1:]], micro.tokens_BT1[:, 1:][said[:, 1:]]).item()
    # The second of an answer's tokens on is two ahead within a conversation; its first may be, too.
    ahead = said[:, 2:] & (micro.document_BT1[:, 2:] == micro.document_BT1[:, :-2])
    mtp = cross_entropy(output.mtp_logits(1)[ahead], micro.tokens_BT1[:, 2:][ahead]).item()
    tiny_trainer(tmp_path, max_steps=1).fit(stage)
    (row,) = rows(tmp_path)
    assert row["train/loss_next_token"] == pytest.approx(main, rel=1e-5)
    assert row["train/loss_mtp_1"] == pytest.approx(mtp, rel=1e-5)
    assert row["train/tokens"] == said.sum().item()


@pytest.mark.parametrize("moe", [False, True])
def test_packed_rows_train_as_one_conversation_a_row(cache: Any, tmp_path: Any, moe: bool) -> None:
    found = []
    for packing in (True, False):
        data = tiny_conversations(cache, packing=packing)
        split = data._splits["train"]
        micro = split.gather(np.arange(split.n_rows))
        stage = sft_stage(data, moe=moe, balance=NO_BALANCE, mtp_weight=0.3)
        found.append((micro, *gradients(stage, [micro], tmp_path)))
    (packed, ours, load), (alone, theirs, load_alone) = found
    assert len(packed.tokens_BT1) < len(alone.tokens_BT1) / 2, "something was packed"
    assert (ours - theirs).abs().max() < 1e-6 * theirs.abs().max()
    assert all(torch.equal(load[layer], load_alone[layer]) for layer in load | load_alone)
    if moe:
        document = packed.document_BT1
        inside = (document[:, :-1] == document[:, 1:]) & (document[:, 1:] != PADDING)
        assert min(load.items())[1].sum() == inside.sum() * 2, "two experts a token, none for padding"


@pytest.mark.parametrize("size", [1, 2, 4])
def test_no_gradient_depends_on_how_a_step_is_cut(cache: Any, tmp_path: Any, size: int) -> None:
    whole = sft_stage(tiny_conversations(cache), mtp_weight=0.3)
    cut = sft_stage(tiny_conversations(cache, micro_batch_size=size), mtp_weight=0.3)
    ours, load = gradients(cut, cut.data.step_batch(0), tmp_path)
    theirs, load_whole = gradients(whole, whole.data.step_batch(0), tmp_path)
    assert len(cut.data.step_batch(0)) == 8 // size
    assert (ours - theirs).abs().max() < 1e-6 * theirs.abs().max()
    assert all(torch.equal(load[layer], load_whole[layer]) for layer in load)


def test_what_another_conversation_says_changes_nothing(cache: Any) -> None:
    stage = sft_stage(tiny_conversations(cache))
    (micro,) = stage.data.step_batch(0)
    first = micro.document_BT1 == micro.document_BT1[:, :1]
    other = torch.where(first, micro.tokens_BT1, (micro.tokens_BT1 + 1) % 256)
    assert not torch.equal(other, micro.tokens_BT1)
    document = micro.document_BT1[:, :-1]
    before, after = (stage.model(t[:, :-1], document_BT=document).hidden_BTD for t in (micro.tokens_BT1, other))
    assert torch.equal(before[first[:, :-1]], after[first[:, :-1]])


def test_it_learns_and_counts_right_tokens(cache: Any, tmp_path: Any) -> None:
    stage = sft_stage(tiny_conversations(cache))
    before = [module.clone() for module in stage.model.mtp.parameters()]
    tiny_trainer(tmp_path, max_steps=40, validate_every=20, log_every=10).fit(stage)
    values = rows(tmp_path)
    assert values[-1]["val/loss"] < 0.7 * values[0]["train/loss"]
    right = count = 0
    for micro in stage.data.validation_batches(2):
        logits = stage.model(micro.tokens_BT1[:, :-1], document_BT=micro.document_BT1[:, :-1]).logits
        said = micro.answer_BT1[:, 1:]
        right += int((logits.argmax(-1) == micro.tokens_BT1[:, 1:])[said].sum())
        count += int(said.sum())
    assert values[-1]["sft/token_accuracy"] == pytest.approx(right / count)
    assert right > 0
    assert all(torch.equal(a, b) for a, b in zip(before, stage.model.mtp.parameters(), strict=True)), "MTP is kept"


@pytest.mark.parametrize(("router_bias", "moved"), [("updated", True), ("frozen", False)])
def test_the_routers_bias_moves_or_stays(cache: Any, tmp_path: Any, router_bias: str, moved: bool) -> None:
    stage = sft_stage(tiny_conversations(cache), balance=V3_BALANCE, router_bias=router_bias)
    tiny_trainer(tmp_path, max_steps=2).fit(stage)
    assert bool(stage.model.routers()[0].selection_bias_E.any()) == moved


def test_a_resumed_run_is_the_run_to_the_bit(cache: Any, tmp_path: Any) -> None:
    whole, half = tmp_path / "whole", tmp_path / "half"
    stage = sft_stage(tiny_conversations(cache), mtp_weight=0.1)
    tiny_trainer(whole, max_steps=12, every=5).fit(stage)
    (half / "checkpoints").mkdir(parents=True)
    shutil.copy(whole / "metrics.jsonl", half)
    shutil.copy(whole / "checkpoints" / checkpoint_name(5), half / "checkpoints")
    again = sft_stage(tiny_conversations(cache), mtp_weight=0.1)
    tiny_trainer(half, max_steps=12, every=5, resume_step=5).fit(again, ckpt_path=latest_checkpoint(half))
    assert rows(half) == rows(whole)
    ours, theirs = again.model.state_dict(), stage.model.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
