"""Questions of a task as the data of an on-policy stage: nothing to learn from but what is drawn to answer them.

Which questions an iteration asks is a pure function of (seed, iteration): epochs are permutations that (seed, epoch)
alone decide. Questions that are drawn again (dynamic sampling) come from a second row of permutations, so that the
first does not depend on what was drawn.

Left out: answers, rewards, and the choice by difficulty, which needs to know how answers went (rollout/).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.data.packing import shuffled_samples
from deepseek_lab.data.preparation import hash_of, require_vocabulary
from deepseek_lab.tasks.task import Example, Task
from deepseek_lab.text.chat import Chat
from deepseek_lab.text.question_prompt import QuestionPrompt
from deepseek_lab.text.tokenizer import Tokenizer, TokenizerConfig

_KEPT_PROMPTS = 4096
"""Encoded questions that are kept."""


class PromptData:
    """The questions of a task and how they are put."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        """questions: of the training split, which epochs go over; answers: to each, for the count of tokens."""

        task: Any
        prompt: QuestionPrompt.Config
        questions: int
        validation_questions: int
        seq_len: int  # tokens of a question and its answer
        batch_size: int  # questions an iteration, over all ranks
        answers: int
        kind: ClassVar[str] = "questions"
        micro_batch_size: ClassVar[None] = None
        batch_size_start: ClassVar[None] = None
        isolate_documents: ClassVar[bool] = True
        validates: ClassVar[bool] = True

        def check(self) -> None:
            self.require_positive("questions", "validation_questions", "seq_len", "batch_size", "answers")
            if self.batch_size > self.questions:
                raise ConfigError(f"= {self.batch_size} is more than the {self.questions} questions", "batch_size")

        def tokens_in(self, max_steps: int) -> int:
            """Tokens of the first `max_steps` iterations, were every answer as long as can be."""
            return max_steps * self.batch_size * self.answers * self.seq_len

        def check_with(self, tokenizer_config: TokenizerConfig) -> None:
            """Raises ConfigError for packages that are not installed, and for a tokenizer that needs a text."""
            tokenizer_config.require_installed()

        def build(self, tokenizer_config: TokenizerConfig, vocab_size: int, seed: int) -> "PromptData":
            """Raises ConfigError when the task has fewer questions."""
            require_vocabulary(tokenizer_config, vocab_size)
            return PromptData(self, self.task.build(), tokenizer_config.build(()), seed)

    def __init__(self, config: Config, task: Task, tokenizer: Tokenizer, seed: int) -> None:
        self.config, self.task, self.tokenizer, self.seed = config, task, tokenizer, seed
        self.prompt = config.prompt.build()
        self.chat = Chat(tokenizer)
        self.examples = task.examples("train", config.questions)
        self.held_out = task.examples("validation", config.validation_questions)
        self.token_bytes_V: NDArray[np.int64] = tokenizer.token_bytes()
        self.manifest = self._manifest()
        self.put_by(self.prompt)

    def put_by(self, prompt: QuestionPrompt) -> None:
        """From now on questions are put in this way, whatever the config says."""
        self.prompt = prompt
        self.prompt_ids = lru_cache(_KEPT_PROMPTS)(self._prompt_ids)

    def _manifest(self) -> dict[str, Any]:
        depends_on = {
            "task": self.task.name,
            "train": _fingerprint(self.examples),
            "validation": _fingerprint(self.held_out),
            "prompt": [self.config.prompt.prompt, self.config.prompt.chat, self.config.prompt.thinking],
            "tokenizer_hash": self.tokenizer.fingerprint(),
        }
        if self.config.prompt.chat and self.tokenizer.chat_template is not None:
            depends_on["chat_template"] = hash_of({"template": self.tokenizer.chat_template})
        return {"hash": hash_of(depends_on), **depends_on}

    def baselines(self) -> dict[str, float]:
        """Figures that a network must beat; none are known here."""
        return {}

    def asked(self, iteration: int, rank: int = 0, world_size: int = 1) -> NDArray[np.int64]:
        """This rank's questions of an iteration (from 0), as places in `examples`."""
        share = self.config.batch_size // world_size
        first = iteration * self.config.batch_size + rank * share
        return shuffled_samples(first, share, self.seed, len(self.examples))

    def asked_instead(self, iteration: int, again: int, rank: int = 0, world_size: int = 1) -> NDArray[np.int64]:
        """Other questions for the same iteration, round `again` (from 0) of drawing again."""
        share = self.config.batch_size // world_size
        place = (iteration << 16) + again
        return np.random.default_rng([self.seed, 1, place, rank]).permutation(len(self.examples))[:share]

    def _prompt_ids(self, question: str) -> tuple[int, ...]:
        return tuple(self.prompt.encode(self.chat, question))

    def sample_prompt(self) -> list[int]:
        """A question for the text that is written at each validation."""
        return list(self.prompt_ids(self.held_out[0].question))


def _fingerprint(examples: Sequence[Example]) -> str:
    whole = hashlib.sha256()
    for example in examples:
        for text in (example.question, example.answer):
            whole.update(hashlib.sha256(text.encode()).digest())
    return whole.hexdigest()[:16]
