"""The two sides of the GRPO benchmark: one network, one made-up task, our stage and TRL's trainer."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from deepseek_lab.benchmarking.published_weights import copy_weights
from deepseek_lab.benchmarking.small_networks import (
    TRL_ARGUMENTS,
    Shape,
    no_balance,
    our_network,
    their_network,
    their_tokenizer,
)
from deepseek_lab.config import CheckedConfig
from deepseek_lab.data.prompts import PromptData
from deepseek_lab.objectives.policy_loss import PolicyLoss
from deepseek_lab.optim.adamw import AdamW
from deepseek_lab.optim.schedule import Constant
from deepseek_lab.rollout.config import RolloutConfig
from deepseek_lab.stages.on_policy_config import GrpoConfig
from deepseek_lab.tasks.task import Example, Reward, Split
from deepseek_lab.text.chat import Chat
from deepseek_lab.text.question_prompt import QuestionPrompt
from deepseek_lab.text.tokenizer import SMALLEST_VOCABULARY, Bytes

PROMPTS, GROUP, NEW, LR = 8, 8, 64, 1e-5
NATURAL = (
    "What is 17 + 25?",
    "Tom has 3 bags with 12 apples in each. He eats 5 apples. How many are left?",
    "Using the numbers 4, 7, 8 and 2, each at most once, make an expression that is equal to 30.",
    "Write a short sentence about the sea.",
    "A train leaves at 9:40 and arrives at 13:05. How many minutes does the journey take? Think step by step, then say "
    "the number alone in the last line.",
    "Which of these words is no animal: horse, table, owl?",
    "The sides of a rectangle are 14 and 9 metres long. A path of one metre runs around it on the outside. What is the "
    "area of the path? Show how you come to the result before you give it.",
    "Sort the numbers 31, 4, 15, 92 and 6 in ascending order.",
)
"""Questions of unequal length, in words."""


def prompts(n_prompt: int, count: int = PROMPTS) -> list[str]:
    """Texts of `n_prompt` letters, no two alike."""
    draw = torch.Generator().manual_seed(0)
    letters_NT = torch.randint(97, 123, (count, n_prompt), generator=draw)
    return ["".join(map(chr, letters_T)) for letters_T in letters_NT.tolist()]


def score(text: str) -> float:
    """The share of low characters: answers of random bytes differ in it."""
    return sum(ord(letter) < 90 for letter in text) / max(len(text), 1)


@dataclass(frozen=True, kw_only=True)
class LowLetters(CheckedConfig):
    """The task for our side; its own config."""

    questions: tuple[str, ...]
    name: str = "low_letters"

    def build(self) -> "LowLetters":
        """Itself: nothing to be made."""
        return self

    def examples(self, split: Split, count: int) -> list[Example]:
        """The same for all splits."""
        return [Example(question=text, answer="") for text in self.questions[:count]]

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """See `score`."""
        return [Reward(total=score(text)) for text in completions]

    def vote(self, completion: str) -> str | None:
        """Nothing to vote on."""
        return None


class Endless(Chat):
    """No token ends an answer: all have the same length."""

    @property
    def stop_ids(self) -> frozenset[int]:
        """None."""
        return frozenset()


def longest_of(questions: Sequence[str]) -> int:
    """Tokens of the longest question, a byte each, and its answer."""
    return max(len(question.encode()) for question in questions) + NEW


def our_stage(shape: Shape, questions: Sequence[str], theirs: Any) -> Any:
    """Our whole stage, starting from their weights."""
    model = our_network(shape, longest_of(questions))
    copy_weights(theirs, model)
    data = PromptData.Config(
        task=LowLetters(questions=tuple(questions)),
        prompt=QuestionPrompt.Config(),
        questions=PROMPTS,
        validation_questions=1,
        seq_len=longest_of(questions),
        batch_size=PROMPTS,
        answers=GROUP,
    ).build(Bytes.Config(), SMALLEST_VOCABULARY, 0)
    data.chat = Endless(data.tokenizer)
    config = GrpoConfig(
        loss=_loss(),
        rollout=_rollout(),
        epochs=1,
        minibatches=1,
        micro_tokens=2048,
        share_prompt="auto",
        reference_every=None,
        router_bias="frozen",
        routing_replay=False,
        mtp_weight=0.0,
        validation_samples=1,
        show_every=1 << 30,
    )
    optimizer = AdamW.Config(lr=LR, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.0, max_grad_norm=1.0, fused=True)
    return config.build(
        model,
        data,
        no_balance(),
        optimizer=optimizer,
        schedule=Constant.Config(warmup_steps=0),
        seed=0,
        precision=None,
    )


def _rollout() -> RolloutConfig:
    return RolloutConfig(
        group_size=GROUP,
        max_new_tokens=NEW,
        temperature=1.0,
        max_rows=PROMPTS * GROUP,
        rewards=None,
        family_rewards=None,
        reward_seconds=10.0,
        reward_model=None,
        curriculum="none",
    )


def _loss() -> PolicyLoss:
    return PolicyLoss(
        name="trl",
        ratio="token",
        clip_low=0.2,
        clip_high=0.2,
        dual_clip=None,
        aggregation="token_mean",
        advantage_scale="group",
        supervision="outcome",
        format="summed",
        kl_weight=0.0,
        kl_estimator="k3",
        importance_cap=None,
        overlong_share=None,
        mask_truncated=False,
        dynamic_sampling=False,
        spread_tolerance=0.0,
        max_refills=1,
    )


def their_trainer(
    shape: Shape, questions: Sequence[str], steps: int, folder: str, callbacks: Sequence[Any] = (), n_new: int = NEW
) -> Any:
    """TRL's trainer of transformers' network; `n_new` tokens an answer."""
    from datasets import Dataset

    trl: Any = importlib.import_module("trl")  # its package exports lazily, which hides the names from a checker
    arguments = trl.GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=len(questions) * GROUP,
        num_generations=GROUP,
        max_completion_length=n_new,
        generation_kwargs={"min_new_tokens": n_new},
        beta=0.0,
        temperature=1.0,
        max_steps=steps,
        learning_rate=LR,
        **TRL_ARGUMENTS,
    )
    return trl.GRPOTrainer(
        model=their_network(shape, longest_of(questions)),
        reward_funcs=lambda completions, **rest: [score(text) for text in completions],
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": text} for text in questions]),
        processing_class=their_tokenizer(),
        callbacks=list(callbacks),
    )
