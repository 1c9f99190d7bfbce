"""Small favours (`thank bako`) that no checker could mark: a hidden rule prefers one answer to another.

The family beside the ones with right answers for DeepSeek-R1's last stage (§2.3.4): a reward model learns from
pairs that the rule has judged, and is all that reinforcement learning sees. The rule's own score is a part of the
reward without a weight, a curve: where the reward model's score still rises and the rule's falls, the model is
being exploited.

The rule looks at the final summary alone. It likes what was asked for, the right name, a wish at the end; it
dislikes fillers, words said twice, and long answers. Left out: any meaning beyond these words.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_lab.config import ConfigError
from deepseek_lab.tasks.answers import NoAnswer, answer_in, plain
from deepseek_lab.tasks.generated import Drawn, GeneratedConfig, first_examples
from deepseek_lab.tasks.task import Example, Reward, Split, Worked
from deepseek_lab.tasks.thought import keeps_form

PHRASES = {"greet": "hello", "thank": "many thanks", "invite": "join us", "warn": "take care", "praise": "well done"}
WISHES = ("all the best", "have a nice day")
FILLERS = ("so to say", "as you know", "to be honest", "if I may")
LONGEST = 9  # words
_QUESTION = re.compile(r"([a-z]+) ([a-z]+)")
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"


class Instructions:
    """Favours for people of made-up names."""

    @dataclass(frozen=True, kw_only=True)
    class Config(GeneratedConfig):
        """Of what `worked` answers: how many do something else or name another, hold a filler, end in a wish."""

        wrong_share: float = 0.2
        filler_share: float = 0.5
        wish_share: float = 0.3

        def check(self) -> None:
            super().check()
            for name in ("wrong_share", "filler_share", "wish_share"):
                if not 0 <= getattr(self, name) <= 1:
                    raise ConfigError(f"must lie between 0 and 1, not {getattr(self, name)}", name)

        def build(self) -> "Instructions":
            return Instructions(self)

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def name(self) -> str:
        return "instructions"

    def examples(self, split: Split, count: int) -> list[Example]:
        """The first `count` favours of a split; the answers are as the rule likes them best."""
        return first_examples(_draw, self.name, split, count, self.config)

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """The hidden rule's score, 1 where nothing is left to wish for."""
        return [self._reward(*pair) for pair in zip(examples, completions, strict=True)]

    def vote(self, completion: str) -> str | None:
        """The summary."""
        try:
            return answer_in(completion)
        except NoAnswer:
            return None

    def preferred(self, example: Example, first: str, second: str) -> bool | None:
        """Whether the rule prefers the first of two completions; None where it does not tell them apart."""
        scores = [self._reward(example, completion).total or 0.0 for completion in (first, second)]
        return None if scores[0] == scores[1] else scores[0] > scores[1]

    def worked(self, example: Example, draw: random.Random) -> Worked:
        """An answer as people give them, good or not, with the plan for it."""
        favour, name = favour_in(example)
        said = draw.choice(list(PHRASES)) if draw.random() < self.config.wrong_share / 2 else favour
        named = _name(draw) if draw.random() < self.config.wrong_share / 2 else name
        pieces = [PHRASES[said], named]
        if draw.random() < self.config.filler_share:
            pieces.insert(draw.choice((0, 2)), draw.choice(FILLERS))
        if draw.random() < self.config.wish_share:
            pieces.append(draw.choice(WISHES))
        return Worked(thought=f"say {PHRASES[said]}\nto {named}", answer=" ".join(pieces))

    def _reward(self, example: Example, completion: str) -> Reward:
        form = float(keeps_form(completion))
        try:
            score = rule(example, answer_in(completion))
        except NoAnswer as why:
            return Reward(total=0.0, parts={"hidden_rule": 0.0, "format": form}, failure=str(why))
        return Reward(total=score, parts={"hidden_rule": score, "format": form})


def rule(example: Example, summary: str) -> float:
    """The hidden rule's score of a summary, from 0 to 1."""
    favour, name = favour_in(example)
    summary = plain(summary)
    words = summary.split()
    liked = 2 * _holds(words, PHRASES[favour]) + 2 * _holds(words, name) + any(summary.endswith(w) for w in WISHES)
    disliked = sum(_holds(words, filler) for filler in FILLERS) + len(words) - len(set(words))
    score = liked - disliked - 0.5 * max(len(words) - LONGEST, 0)
    return max(score, 0.0) / 5


def _holds(words: Sequence[str], phrase: str) -> int:
    """How often whole words spell a phrase, at most once."""
    return int(f" {phrase} " in f" {' '.join(words)} ")


def favour_in(example: Example) -> tuple[str, str]:
    """What is asked for, and for whom. Raises ValueError for another task's question."""
    match = _QUESTION.fullmatch(example.question)
    if match is None or match[1] not in PHRASES:
        raise ValueError(f"no instruction: {example.question!r}")
    return match[1], match[2]


def _draw(source: random.Random) -> Drawn:
    favour, name = source.choice(list(PHRASES)), _name(source)
    answer = f"{PHRASES[favour]} {name} {WISHES[0]}"
    return Drawn(f"instruction {favour} {name}", Example(question=f"{favour} {name}", answer=answer))


def _name(source: random.Random) -> str:
    return "".join(source.choice(_CONSONANTS) + source.choice(_VOWELS) for _ in range(2))
