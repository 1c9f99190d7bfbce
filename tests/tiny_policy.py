"""A whole on-policy run in a second: a network of a few thousand weights that learns to write the letter b."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from deepseek_lab.config import CheckedConfig
from deepseek_lab.data.prompts import PromptData
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.objectives.policy_loss import PolicyLoss
from deepseek_lab.rollout.config import RolloutConfig
from deepseek_lab.stages.on_policy_config import GrpoConfig, PpoConfig
from deepseek_lab.tasks.task import Example, Reward, Split
from deepseek_lab.text.question_prompt import QuestionPrompt
from deepseek_lab.text.tokenizer import Bytes
from tiny_run import NO_BALANCE, TinyAdamW, tiny_config

VOCABULARY = 266
LOSS = {
    "name": "test",
    "ratio": "token",
    "clip_low": 0.2,
    "clip_high": 0.28,
    "dual_clip": None,
    "aggregation": "token_mean",
    "advantage_scale": "group",
    "supervision": "outcome",
    "format": "summed",
    "kl_weight": 0.0,
    "kl_estimator": "k3",
    "importance_cap": None,
    "overlong_share": None,
    "mask_truncated": False,
    "dynamic_sampling": False,
    "spread_tolerance": 0.0,
    "max_refills": 3,
}
ROLLOUT = {
    "group_size": 4,
    "max_new_tokens": 6,
    "temperature": 1.0,
    "max_rows": 64,
    "family_rewards": None,
    "rewards": None,
    "reward_seconds": 5.0,
    "reward_model": None,
    "curriculum": "none",
}
STAGE = {
    "epochs": 1,
    "minibatches": 1,
    "micro_tokens": 64,
    "reference_every": None,
    "router_bias": "frozen",
    "routing_replay": False,
    "mtp_weight": 0.0,
    "validation_samples": 2,
    "show_every": 2,
}
GRPO = {"share_prompt": "auto"}
PPO = {
    "reference_weight": 0.05,
    "discount": 1.0,
    "decay": 0.95,
    "whiten": True,
    "value_weight": 0.1,
    "value_clip": 0.2,
    "critic": "policy",
    "critic_lr_factor": 2.0,
}


class Letters:
    """Rewards the bytes of an answer that are low: about half of them are; each is a step of its own."""

    name = "letters"

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        levels: int = 2

        def build(self) -> "Letters":
            return Letters(self.levels)

    def __init__(self, levels: int = 2) -> None:
        self.levels = levels

    def examples(self, split: Split, count: int) -> list[Example]:
        return [Example(question=f"{split} {i}", answer="b", difficulty=i % self.levels) for i in range(count)]

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        return [self.verdict(text) for text in completions]

    @staticmethod
    def verdict(text: str) -> Reward:
        low = [1.0 if ord(letter) < 90 else 0.0 for letter in text]
        share = sum(low) / max(len(text), 1)
        steps = [(i + 1, value) for i, value in enumerate(low)]
        return Reward(total=share, parts={"correct": float(share > 0.5), "format": float(len(text) > 2)}, steps=steps)

    def vote(self, completion: str) -> str | None:
        return completion


def policy_loss(**knobs: Any) -> PolicyLoss:
    return PolicyLoss(**{**LOSS, **knobs})


def policy(moe: bool = True, depth: int = 0, seed: int = 1) -> Transformer:
    torch.manual_seed(seed)
    return replace(tiny_config(moe, depth), vocab_size=VOCABULARY, init_std=0.1).build()


def prompt_data(seed: int = 1, batch_size: int = 3, task: Any = None, **knobs: Any) -> PromptData:
    values = {"questions": 12, "validation_questions": 3, "seq_len": 48, "answers": 4, **knobs}
    config = PromptData.Config(
        task=task or Letters.Config(), prompt=QuestionPrompt.Config(), batch_size=batch_size, **values
    )
    return config.build(Bytes.Config(), VOCABULARY, seed)


@dataclass(frozen=True)
class Constant:
    def factor(self, step: int, max_steps: int) -> float:
        return 1.0


def policy_stage(
    kind: str = "grpo",
    loss: dict[str, Any] | None = None,
    rollout: dict[str, Any] | None = None,
    moe: bool = True,
    depth: int = 0,
    lr: float = 3e-3,
    seed: int = 1,
    batch_size: int = 3,
    balance: Any = NO_BALANCE,
    task: Any = None,
    **knobs: Any,
) -> Any:
    """A stage on a tiny network and the task above."""
    parts = {"loss": policy_loss(**(loss or {})), "rollout": RolloutConfig(**{**ROLLOUT, **(rollout or {})})}
    own = {name: knobs.pop(name, value) for name, value in {**STAGE, **(PPO if kind == "ppo" else GRPO)}.items()}
    config = (PpoConfig if kind == "ppo" else GrpoConfig)(**parts, **own)
    return config.build(
        policy(moe, depth, seed),
        prompt_data(seed, batch_size, task),
        balance,
        optimizer=TinyAdamW(lr=lr),
        schedule=Constant(),
        seed=seed,
        **knobs,
    )
