"""Draws answers to questions with the generation engine and has them judged.

All randomness is keyed: the noise of a token depends on (seed, purpose, question, sample, position), so a rollout that
was cut off is drawn again to the letter. Only the temperature shapes what is drawn.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepseek_lab.config import ConfigError
from deepseek_lab.data.prompts import PromptData
from deepseek_lab.generation import Completion, Engine, Request, Sampling
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.rollout.config import RolloutConfig
from deepseek_lab.rollout.group import Group
from deepseek_lab.rollout.rewarding import Rewarding
from deepseek_lab.tasks.task import Example


class RolloutError(RuntimeError):
    """A rollout that cannot be finished, in one line."""


@dataclass
class Clock:
    """Seconds that went into drawing and judging."""

    drawing: float = 0.0
    judging: float = 0.0


def key_of(*parts: object) -> int:
    """63 bits that depend on all parts."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


def _has_mixtures(policy: Transformer) -> bool:
    """Whether a block has experts; those of MTP modules draw nothing."""
    return len(policy.routers()) > len(policy.mtp)


class Drawing:
    """Groups of answers to questions of one task."""

    def __init__(self, config: RolloutConfig, data: PromptData, rewarding: Rewarding, seed: int) -> None:
        self.config, self.data, self.rewarding, self.seed = config, data, rewarding, seed
        self.clock = Clock()

    def groups(
        self, policy: Transformer, examples: Sequence[Example], places: NDArray[np.int64], n: int, purpose: object
    ) -> list[Group]:
        """`n` answers to each of `examples[places]`. Raises RolloutError when the policy's logits are no numbers."""
        asked = [examples[place] for place in places]
        prompts = [self.data.prompt_ids(example.question) for example in asked]
        started = time.monotonic()
        answers = self._drawn(policy, prompts, places, n, purpose)
        drawn = time.monotonic()
        groups = self._judged(asked, prompts, answers)
        self.clock.drawing += drawn - started
        self.clock.judging += time.monotonic() - drawn
        return groups

    def require_room(self, examples: Sequence[Example], longest: int) -> None:
        """Raises ConfigError when some question and an answer do not fit into `longest` tokens."""
        lengths = [len(self.data.prompt_ids(example.question)) for example in examples]
        most, room = max(lengths), longest - self.config.max_new_tokens
        if most > room:
            asked = f"{most} tokens of a question and rollout.max_new_tokens = {self.config.max_new_tokens}"
            first = next(e.question for e, length in zip(examples, lengths, strict=True) if length > room)
            many = f"{sum(length > room for length in lengths):,} of {len(lengths):,} questions are too long"
            said = f"{asked}: {most + self.config.max_new_tokens}; {many}, the first begins {first[:60]!r}"
            raise ConfigError(f"= {longest} is less than {said}", "data.seq_len")

    def _drawn(
        self,
        policy: Transformer,
        prompts: Sequence[tuple[int, ...]],
        places: NDArray[np.int64],
        n: int,
        purpose: object,
    ) -> list[list[Completion]]:
        requests = [
            Request(
                prompt=prompt,
                max_new_tokens=self.config.max_new_tokens,
                sampling=Sampling(temperature=self.config.temperature),
                stop_ids=self.data.chat.stop_ids,
                seed=key_of(self.seed, purpose, place),
                n=n,
            )
            for prompt, place in zip(prompts, places, strict=True)
        ]
        # A new engine each time: what it has grown to must not depend on whether the run was resumed.
        engine = Engine(policy, max_rows=self.config.max_rows, record_routing=_has_mixtures(policy))
        was_training = policy.training
        policy.eval()
        answers = engine.run(requests)
        policy.train(was_training)
        for completion in (completion for each in answers for completion in each):
            if completion.finish_reason == "error":
                raise RolloutError(f"{purpose}: {completion.error}")
        return answers

    def _judged(
        self, asked: Sequence[Example], prompts: Sequence[tuple[int, ...]], answers: Sequence[Sequence[Completion]]
    ) -> list[Group]:
        """All answers go to the judges together."""
        prompt, stop_ids = self.data.prompt, self.data.chat.stop_ids
        said = [[prompt.judged_text(self.data.chat, one.ids, stop_ids) for one in each] for each in answers]
        examples = [example for example, texts in zip(asked, said, strict=True) for _ in texts]
        verdicts = iter(self.rewarding.verdicts(examples, [text for texts in said for text in texts]))
        groups = []
        for example, ids, each, texts in zip(asked, prompts, answers, said, strict=True):
            own = [next(verdicts) for _ in texts]
            values = [self.rewarding.values(verdict, example) for verdict in own]
            groups.append(
                Group(
                    example=example,
                    prompt=ids,
                    completions=each,
                    said=texts,
                    verdicts=own,
                    answers=[answer for answer, _ in values],
                    forms=[form for _, form in values],
                )
            )
        return groups
