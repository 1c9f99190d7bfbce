"""A prompt read once for all its answers: losses, gradients and statistics are those of rows by themselves."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.stages.on_policy.test_on_policy import alike, gradients, run

from deepseek_lab.config import ConfigError
from deepseek_lab.stages.expert_loads import ExpertLoads
from deepseek_lab.stages.on_policy.answers import ROUTING, Answers
from deepseek_lab.stages.on_policy.logprobs import answer_logprobs
from model.tiny import ATTENTIONS, FFNS, VOCABULARY, build
from tiny_policy import policy_stage
from tiny_run import V3_BALANCE, rows

GROUP = 4
PROMPTS, LENGTHS, WIDTH = (7, 2, 30), ((3, 1, 9, 5), (6, 6, 2, 1), (12, 4, 15, 4)), 45


def answers() -> Answers:
    """Three prompts with four answers each, of which one does not count at all and one has a gap."""
    draw, width = torch.Generator().manual_seed(5), WIDTH + 1
    tokens_BT1 = torch.zeros(12, width, dtype=torch.int64)
    mask_BT = torch.zeros(12, width - 1, dtype=torch.bool)
    prompt_B = torch.tensor(PROMPTS).repeat_interleave(GROUP)
    for group, (prompt, lengths) in enumerate(zip(PROMPTS, LENGTHS, strict=True)):
        asked = torch.randint(VOCABULARY, (prompt,), generator=draw)
        for row, length in enumerate(lengths, start=group * GROUP):
            tokens_BT1[row, :prompt] = asked
            tokens_BT1[row, prompt : prompt + length] = torch.randint(VOCABULARY, (length,), generator=draw)
            mask_BT[row, prompt - 1 : prompt - 1 + length] = True
    mask_BT[1] = False
    mask_BT[2, 9] = False
    index_B = torch.arange(12)
    routing_BTLK = torch.randint(8, (12, width - 1, 2, 3), generator=draw)
    routing_BTLK[:] = torch.stack([routing_BTLK[row - row % GROUP] for row in range(12)])
    return Answers(index_B, prompt_B, index_B // GROUP, tokens_BT1, mask_BT, {ROUTING: routing_BTLK})


def measured(model: Any, passes: list[Answers], replay: bool = False) -> tuple[list[torch.Tensor], dict[str, Any]]:
    """Log-probabilities, entropies and loads, and the gradients of a weighted sum."""
    model.zero_grad()
    found, loads = [torch.zeros(12, WIDTH, dtype=torch.float64) for _ in range(2)], ExpertLoads()
    for micro in passes:
        chosen_BTLK = micro.columns[ROUTING] if replay else None
        logp_BT, entropy_BT, output = answer_logprobs(model, micro, 0.8, chosen_BTLK=chosen_BTLK)
        weight_BT = torch.sin(micro.tokens_BT1[:, 1:].double() + micro.index_B[:, None])
        (logp_BT * weight_BT).sum().backward()
        for whole_BT, part_BT in zip(found, (logp_BT, entropy_BT), strict=True):
            whole_BT[micro.index_B, : part_BT.shape[1]] = part_BT.detach()
        loads.add(output.routing, micro.inside_BT)
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return [*found, *(load_E for _, load_E in loads.taken(lambda x: x))], grads


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("ffn", FFNS)
def test_every_network_has_the_gradients_and_loads_of_rows_by_themselves(attention: str, ffn: str) -> None:
    model = build(attention, ffn).double()
    expected, from_rows = measured(model, answers().cut(100))
    for budget in (1, 100, 1000):
        found, from_shared = measured(model, answers().cut_by_prompt(budget))
        assert alike(from_rows, from_shared)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    if ffn == "moe":
        n_tokens = int(answers().inside_BT.sum())
        assert [int(load_E.sum()) for load_E in expected[2:]] == [3 * n_tokens] * 2


def test_experts_may_be_given() -> None:
    model = build("mla", "moe").double()
    expected, from_rows = measured(model, answers().cut(100), replay=True)
    found, from_shared = measured(model, answers().cut_by_prompt(100), replay=True)
    assert alike(from_rows, from_shared)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_passes_keep_to_their_budget_and_groups_together() -> None:
    whole = answers()
    cost = {tuple(micro.index_B.tolist()): micro.n_shared for micro in whole.cut_by_prompt(65)}
    assert list(cost) == [tuple(range(8)), tuple(range(8, 12))]
    assert [n for rows, n in cost.items()] == [(7 + 2 + 8 + 4) + (2 + 5 + 5 + 1), 30 + 11 + 3 + 14 + 3]
    torn = whole.cut_by_prompt(45)
    assert [micro.index_B.tolist() for micro in torn] == [list(range(8)), [8, 9], [10], [11]]


@pytest.mark.parametrize(
    "knobs",
    [
        {"epochs": 2, "minibatches": 2, "loss": {"kl_weight": 0.1}},
        {"router_bias": "per_iteration", "balance": V3_BALANCE},
    ],
)
def test_an_iteration_has_the_same_gradients_curves_and_biases(knobs: Any, tmp_path: Path) -> None:
    found = {}
    for how in ("always", "never"):
        stage = policy_stage(share_prompt=how, **knobs)
        grads = gradients(stage, tmp_path / how)
        (curves,) = rows(tmp_path / how)
        timed = {name for name in curves if name.startswith("perf/")}
        kept = {name: curves[name] for name in curves if name not in timed and not name.startswith("sampling/logp")}
        found[how] = grads, kept, [(layer, load_E) for layer, load_E in stage.expert_load]
    assert alike(found["never"][0], found["always"][0])
    assert found["always"][1] == pytest.approx(found["never"][1], rel=1e-9, abs=1e-9, nan_ok=True)
    for (_, ours), (_, theirs) in zip(found["always"][2], found["never"][2], strict=True):
        assert ours.equal(theirs)


def test_prompts_are_shared_where_it_pays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shared(**knobs: Any) -> bool:
        stage = policy_stage(**knobs)
        run(stage, tmp_path / str(len(list(tmp_path.iterdir()))), steps=1)
        return bool(stage._open.micro_batches[0].shares_prompts)

    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert shared()
    assert not shared(share_prompt="never")
    assert not shared(depth=1, mtp_weight=0.1)
    for threads, saved in ((1, 1.0), (1, 1.3), (2, 1.3), (2, 2.0)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        monkeypatch.setattr(Answers, "n_filled", lambda answers, budget, saved=saved: saved * answers.n_shared)
        assert shared() == (saved > (1.0 if threads == 1 else 1.3)), "threads wait for each other in small products"


def test_mtp_modules_that_train_and_shared_prompts_exclude_each_other() -> None:
    config = policy_stage(share_prompt="always").config
    with pytest.raises(ConfigError, match="exclude each other") as error:
        dataclasses.replace(config, mtp_weight=0.1)
    assert error.value.field == "share_prompt"
