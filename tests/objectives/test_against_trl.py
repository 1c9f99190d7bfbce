"""Losses and gradients equal those of TRL's own trainers on the same tensors, where TRL has them.

TRL's methods run unchanged on a stand-in for the trainer: only what gathers and logs is replaced.
"""

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch

from deepseek_lab.objectives.preference import bradley_terry, preference_loss
from tests.objectives.test_policy_loss import LENGTHS, LONGEST, G, preset

pytest.importorskip("trl")


class Accelerator(MagicMock):
    """One process: gathering changes nothing."""

    num_processes = 1

    def gather(self, x):
        return x

    gather_for_metrics = gather

    def reduce(self, x, reduction="sum"):
        return x


def trl_grpo(loss_type, level, low, high, beta, corrected, tensors, reference):
    """`GRPOTrainer._compute_loss` on given log-probabilities."""
    from trl import GRPOTrainer

    mask, n = tensors["mask_BT"].long(), tensors["logp_BT"].shape[0]
    trainer = MagicMock(
        top_entropy_quantile=1.0, off_policy_mask_threshold=None, importance_sampling_level=level, beta=beta,
        args=SimpleNamespace(use_bias_correction_kl=corrected, delta=None, steps_per_generation=1),
        loss_type=loss_type, epsilon_low=low, epsilon_high=high, use_vllm=False, max_completion_length=LONGEST,
        aux_loss_enabled=False, _entropy_bonus_enabled=False, current_gradient_accumulation_steps=1,
        accelerator=Accelerator(), _metrics=defaultdict(lambda: defaultdict(list)),
    )  # fmt: skip
    nothing = torch.zeros_like(tensors["logp_BT"])
    trainer._get_per_token_logps_and_entropies.return_value = (tensors["logp_BT"], nothing, None)
    inputs = {
        "prompt_ids": torch.zeros(n, 1, dtype=torch.long), "prompt_mask": torch.ones(n, 1, dtype=torch.long),
        "completion_ids": torch.zeros_like(mask), "completion_mask": mask, "advantages": tensors["advantage_BT"][:, 0],
        "old_per_token_logps": tensors["logp_old_BT"], "ref_per_token_logps": reference,
        "num_items_in_batch": mask.sum(),
    }  # fmt: skip
    return GRPOTrainer._compute_loss(trainer, trainer.model, inputs)


CASES = {
    "grpo": (preset("grpo_deepseekmath"), ("grpo", "token", 0.2, 0.2, 0.04, False)),
    "dapo": (replace(preset("dapo"), aggregation="token_mean"), ("dapo", "token", 0.2, 0.28, 0.0, False)),
    "dr_grpo": (preset("dr_grpo"), ("dr_grpo", "token", 0.2, 0.2, 0.0, False)),
    "gspo": (preset("gspo"), ("grpo", "sequence", 3e-4, 4e-4, 0.0, False)),
    "unbiased kl": (
        replace(preset("grpo_deepseekmath"), kl_estimator="k3_unbiased"),
        ("grpo", "token", 0.2, 0.2, 0.04, True),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_policy_losses_agree(case):
    ours, theirs = CASES[case]
    g = torch.Generator().manual_seed(0)
    new, old, reference = (-torch.rand(3, 4, 5, generator=g, dtype=torch.float64) * 2).unbind()
    mask = torch.arange(5)[None] < torch.tensor(LENGTHS)[:, None]
    advantage = torch.randn(4, 1, generator=g, dtype=torch.float64).expand(4, 5)
    results = []
    for trl in (False, True):
        logp = new.clone().requires_grad_()
        tensors = {"logp_BT": logp, "logp_old_BT": old, "advantage_BT": advantage, "mask_BT": mask}
        if trl:
            loss = trl_grpo(*theirs, tensors, reference)
        else:
            weight = ours.weights(mask, G, LONGEST)
            loss, _ = ours.loss(**tensors, weight_BT=weight, logp_reference_BT=reference if ours.kl_weight else None)
        results.append((loss.detach(), *torch.autograd.grad(loss, logp)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("kind", "theirs", "rate"), [("dpo", "sigmoid", 0.0), ("robust", "robust", 0.2)])
def test_preference_losses_agree(kind, theirs, rate):
    from trl import DPOTrainer

    g = torch.Generator().manual_seed(1)
    logp = (-torch.rand(6, 4, generator=g, dtype=torch.float64)).requires_grad_()
    reference = -torch.rand(2, 3, generator=g, dtype=torch.float64) * 3
    zeros = torch.zeros(6, 4)
    outputs = MagicMock(log_probs=logp, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())
    trainer = MagicMock(
        aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl", beta=0.1,
        loss_types=[theirs], loss_weights=[1.0], label_smoothing=rate, use_weighting=False, accelerator=Accelerator(),
        _metrics=defaultdict(lambda: defaultdict(list)), _total_train_tokens=0, _tp_size=1,
    )  # fmt: skip
    ids = torch.ones(6, 5, dtype=torch.long)
    inputs = {
        "input_ids": ids, "attention_mask": ids, "completion_mask": ids,
        "ref_chosen_logps": reference[0], "ref_rejected_logps": reference[1],
    }  # fmt: skip
    model = MagicMock(return_value=outputs)
    loss = DPOTrainer._compute_loss(trainer, model, inputs, False)
    (grad,) = torch.autograd.grad(loss, logp)
    ours = preference_loss(*logp.sum(1).chunk(2), *reference, 0.1, kind, rate)[0].mean()
    torch.testing.assert_close(ours, loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.autograd.grad(ours, logp)[0], grad, rtol=1e-6, atol=0)


def test_reward_losses_agree():
    from trl import RewardTrainer

    g = torch.Generator().manual_seed(2)
    rewards = torch.randn(6, 1, generator=g, dtype=torch.float64, requires_grad=True)
    trainer = MagicMock(
        aux_loss_enabled=False, accelerator=Accelerator(), _metrics=defaultdict(lambda: defaultdict(list)),
        args=SimpleNamespace(center_rewards_coefficient=0.01), _total_train_tokens=0,
    )  # fmt: skip
    margin = torch.rand(3, generator=g, dtype=torch.float64)
    inputs = {"input_ids": torch.ones(6, 2), "attention_mask": torch.ones(6, 2), "margin": margin}
    loss = RewardTrainer.compute_loss(trainer, MagicMock(return_value=MagicMock(logits=rewards)), inputs)
    ours = bradley_terry(*rewards.squeeze(1).chunk(2), margin, 0.01)[0].mean()
    torch.testing.assert_close(ours, loss, rtol=1e-6, atol=0)
