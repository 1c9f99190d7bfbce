"""Whether our GRPO step and TRL's learn the same: same weights, answers and rewards, the loss and every gradient.

TRL draws the answers, scores them and makes the advantages; its own `compute_loss` and backward give its side. Ours
gets the tokens and the rewards alone, and goes through the whole stage: advantages, weights, shared prompts, loss.
"""

import dataclasses
import tempfile
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback
from torch import Tensor

from deepseek_lab.benchmarking.published_weights import as_ours, largest_difference
from deepseek_lab.benchmarking.rl_contestants import GROUP, our_stage, score, their_trainer
from deepseek_lab.benchmarking.small_networks import Shape
from deepseek_lab.benchmarking.turns import quiet_trainer
from deepseek_lab.rollout.experience import Experience


@dataclasses.dataclass(frozen=True)
class Agreement:
    """The losses of both, and over the parameters the largest relative distance of the gradients."""

    ours: float
    theirs: float
    gradients: float


def agreement(shape: Shape, questions: Sequence[str], n_new: int) -> Agreement:
    """Of the first step on answers of `n_new` tokens."""
    with tempfile.TemporaryDirectory() as folder:
        theirs = their_trainer(shape, questions, 1, folder, n_new=n_new)
        theirs.model.train()
        theirs.current_gradient_accumulation_steps = 1
        drawn = theirs._generate_and_score_completions([{"prompt": q} for q in questions for _ in range(GROUP)])
        stage = our_stage(shape, questions, theirs.model)
        their_loss = theirs.compute_loss(theirs.model, drawn)
        their_loss.backward()
        kept = _first_step(stage, _experience(drawn, theirs.processing_class))
    named = theirs.model.named_parameters()
    gradients = as_ours(theirs.model, {name: p.grad for name, p in named}, stage.model)
    return Agreement(kept.loss, float(their_loss.detach()), largest_difference(kept.gradients, gradients))


class _Kept(Callback):
    """What the optimiser gets."""

    def __init__(self) -> None:
        self.gradients: dict[str, Tensor] = {}
        self.loss = 0.0

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Copies it."""
        self.gradients = {name: p.grad.clone() for name, p in pl_module.model.named_parameters() if p.grad is not None}


def _first_step(stage: Any, experience: Experience) -> _Kept:
    """One iteration on an experience that was not drawn by it."""
    kept, add = _Kept(), stage.curves.add_update

    def note(parts: dict[str, Tensor]) -> None:
        kept.loss = float(parts["train/loss"])
        add(parts)

    stage.curves.add_update = note
    stage.optimizer_config = dataclasses.replace(stage.optimizer_config, max_grad_norm=None)
    stage.rollout.collect = lambda *rest: experience
    quiet_trainer(1, [kept]).fit(stage)
    return kept


def _experience(drawn: dict[str, Tensor], tokenizer: Any) -> Experience:
    """Their answers in our record, judged anew."""
    names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
    parts = zip(*(drawn[name] for name in names), strict=True)
    rows = [(prompt[own.bool()].tolist(), answer[said.bool()].tolist()) for prompt, own, answer, said in parts]
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    tokens_BT1 = torch.zeros(len(rows), width, dtype=torch.int64)
    mask_BT = torch.zeros(len(rows), width - 1, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(rows):
        tokens_BT1[row, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
        mask_BT[row, len(prompt) - 1 : len(prompt) + len(answer) - 1] = True
    rewards = [score(tokenizer.decode(answer, skip_special_tokens=True)) for _, answer in rows]
    return Experience(
        tokens_BT1=tokens_BT1,
        mask_BT=mask_BT,
        logp_sampler_BT=torch.zeros(mask_BT.shape),
        answer_B=torch.tensor(rewards, dtype=torch.float64),
        format_B=None,
        parts={},
        step_reward_BS=torch.zeros(len(rows), 0, dtype=torch.float64),
        step_end_BS=torch.zeros(len(rows), 0, dtype=torch.int64),
        truncated_B=torch.zeros(len(rows), dtype=torch.bool),
        routing_BTLK=None,
        group_size=GROUP,
        longest=max(len(answer) for _, answer in rows),
        sums={"completions/mean_length": (float(sum(len(answer) for _, answer in rows)), float(len(rows)))},
    )
