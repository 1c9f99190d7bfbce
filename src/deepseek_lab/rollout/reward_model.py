"""A learned reward as one more judge: the score of a run of stage=reward, the part `reward_model` of the reward.

The model reads question and answer as the conversation it was trained on. Of an answer that begins with a thought it
sees only what comes after it: helpfulness is judged on the final summary (DeepSeek-R1 §2.3.4). One that was trained on
whole answers, so that it can look at their steps (DeepSeekMath §4.1), is shown them whole.

Left out: scores of single steps.

Shapes: N answers, T tokens.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from deepseek_lab.checkpoint.native import load_value_model
from deepseek_lab.config import ConfigError
from deepseek_lab.data.conversation import ChatFormat, Turn
from deepseek_lab.model.value_head import ValueModel, last_values
from deepseek_lab.tasks.task import Example, Reward
from deepseek_lab.text.reasoning import split_reasoning
from deepseek_lab.text.tokenizer import Tokenizer

PART = "reward_model"
_ROWS = 64
"""Answers scored in one forward."""


class RewardModel:
    """Scores answers; frozen, no part of any checkpoint."""

    def __init__(self, model: ValueModel, tokenizer: Tokenizer, reads_thoughts: bool = False) -> None:
        self.reads_thoughts = reads_thoughts
        self.model = model.eval().requires_grad_(False)
        self._chat = ChatFormat(tokenizer)

    @classmethod
    def of_run(cls, run: str, tokenizer: Tokenizer, reads_thoughts: bool = False) -> "RewardModel":
        """The model of a run folder. Raises DataError for a bad one, ConfigError when it cuts text in another way."""
        folder = Path(run).expanduser()
        model = load_value_model(folder)
        own = Tokenizer.load(folder / "tokenizer.json")
        if own.fingerprint() != tokenizer.fingerprint():
            raise ConfigError(f"{run} has another tokenizer than the policy", PART)
        return cls(model, tokenizer, reads_thoughts)

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """One score a completion; one that is too long for the model has none."""
        rows = [self._ids(*pair) for pair in zip(examples, completions, strict=True)]
        longest = self.model.config.backbone.max_seq_len
        fitting = [row for row in rows if len(row) <= longest]
        passes = (fitting[start : start + _ROWS] for start in range(0, len(fitting), _ROWS))
        scores = iter([score for some in passes for score in self._scores(some).tolist()])
        return [self._verdict(next(scores)) if len(row) <= longest else _too_long(len(row), longest) for row in rows]

    def _ids(self, example: Example, completion: str) -> list[int]:
        seen = completion if self.reads_thoughts else split_reasoning(completion).answer
        ids: list[int] = self._chat.encode([Turn("user", example.question), Turn("assistant", seen)]).ids.tolist()
        return ids

    @torch.no_grad()
    def _scores(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """(N,) values at the last token of each row."""
        width, device = max(map(len, rows)), self.model.value_D.device
        ids_NT = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
        length_N1 = torch.tensor([[len(row)] for row in rows], device=device)
        inside_NT = torch.arange(width, device=device) < length_N1
        own_N1 = torch.arange(len(rows), device=device)[:, None]
        value_NT, _ = self.model(ids_NT)
        return last_values(value_NT, torch.where(inside_NT, own_N1, len(rows)), len(rows))

    @staticmethod
    def _verdict(score: float) -> Reward:
        return Reward(total=score, parts={PART: score})


def _too_long(length: int, longest: int) -> Reward:
    return Reward(total=None, failure=f"{length} tokens are more than the reward model's {longest}")
