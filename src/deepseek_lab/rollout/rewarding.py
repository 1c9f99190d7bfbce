"""What an answer is worth: parts from several judges, weighted; a judge that fails names its failure and no more.

A judge is whatever has a task's `rewards`: the task itself, a reward model, a function of a person's own. All are
asked for a whole batch. One that raises or overruns its time is asked again answer by answer, so that only the answers
at fault stay without a verdict; those have no total and leave their group's baseline.

Left out: interrupting code that holds the interpreter (a single huge operation): the clock strikes when it is over.
"""

import contextlib
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import FrameType
from typing import Protocol

from deepseek_lab.config import ConfigError, nearest
from deepseek_lab.tasks.task import Example, Reward

TOTAL, FORMAT = "total", "format"
"""The task's own sum, and the part that objectives may keep apart from the rest."""


class Judge(Protocol):
    """Gives verdicts; a `Task` is one."""

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """One verdict a completion, in order."""


class OutOfTime(Exception):
    """A judge did not answer in time."""


class Rewarding:
    """The verdicts of all judges on answers, and their weighted sum."""

    def __init__(
        self,
        judges: Sequence[Judge],
        weights: Mapping[str, float],
        seconds: float,
        family_weights: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        """seconds: for one answer; family_weights: in place of `weights` for some tasks of a mixture."""
        self.judges, self.seconds = list(judges), seconds
        self._weights = _used(weights)
        self._family_weights = {family: _used(own) for family, own in (family_weights or {}).items()}
        self.timeouts = 0

    def weights_of(self, example: Example) -> dict[str, float]:
        """The weights that count for answers to a question."""
        return self._family_weights.get(example.family, self._weights)

    def require_parts(self, examples: Sequence[Example]) -> None:
        """Raises ConfigError for a weight of a part that no judge gives for an answer to any of the examples' kind."""
        for example in {example.family: example for example in reversed(examples)}.values():
            self._require_parts(example)

    def _require_parts(self, example: Example) -> None:
        verdict = self.verdicts([example], [""])[0]
        known = [TOTAL, *verdict.parts]
        for part in self.weights_of(example):
            if part not in known:
                raise ConfigError(
                    f"is no part of the reward; there are {', '.join(known)}{nearest(part, known)}", f"rewards.{part}"
                )

    def verdicts(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """The verdicts of the judges joined: the first judge's total and steps, the parts of all."""
        columns = [self._asked(judge, examples, completions) for judge in self.judges]
        return [_joined(row) for row in zip(*columns, strict=True)]

    def values(self, verdict: Reward, example: Example) -> tuple[float, float | None]:
        """The weighted sum of all parts but `format`, and that of `format` where it has a weight.

        NaN where a part that counts is missing: nobody could tell.
        """
        parts, weights = {TOTAL: verdict.total, **verdict.parts}, self.weights_of(example)
        own = {part: weight for part, weight in weights.items() if part != FORMAT}
        unjudged = any(parts.get(part) is None for part in weights)
        answer = math.nan if unjudged else math.fsum(weight * (parts[part] or 0.0) for part, weight in own.items())
        if FORMAT not in weights:
            return answer, None
        return answer, math.nan if unjudged else weights[FORMAT] * (parts[FORMAT] or 0.0)

    def _asked(self, judge: Judge, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        try:
            with time_limit(self.seconds * max(len(completions), 1)):
                verdicts = _complete(judge.rewards(examples, completions), len(completions))
                self.timeouts += sum(not verdict.reproducible for verdict in verdicts)
                return verdicts
        except Exception as error:
            if len(completions) == 1:
                return [self._failed(error)]
        pairs = zip(examples, completions, strict=True)
        return [self._asked(judge, [example], [completion])[0] for example, completion in pairs]

    def _failed(self, error: Exception) -> Reward:
        self.timeouts += isinstance(error, OutOfTime)
        said = f"no verdict within {self.seconds:g} s" if isinstance(error, OutOfTime) else str(error)
        return Reward(total=None, failure=f"{type(error).__name__}: {' '.join(said.split())[:200]}")


class OnlyFor:
    """A judge that is asked about some questions only; of others it says nothing."""

    def __init__(self, judge: Judge, wanted: Callable[[Example], bool]) -> None:
        self.judge, self.wanted = judge, wanted

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """A verdict without parts where it is not asked."""
        places = [place for place, example in enumerate(examples) if self.wanted(example)]
        verdicts = [Reward(total=0.0)] * len(completions)
        if places:
            own = self.judge.rewards([examples[place] for place in places], [completions[place] for place in places])
            for place, verdict in zip(places, own, strict=True):
                verdicts[place] = verdict
        return verdicts


def _used(weights: Mapping[str, float]) -> dict[str, float]:
    return {part: float(weight) for part, weight in weights.items() if weight}


def _complete(verdicts: list[Reward], n: int) -> list[Reward]:
    if len(verdicts) != n:
        raise ValueError(f"{len(verdicts)} verdicts on {n} answers")
    return [_finite(verdict) for verdict in verdicts]


def _finite(verdict: Reward) -> Reward:
    """A total that is no number is no verdict."""
    if verdict.total is None or math.isfinite(verdict.total):
        return verdict
    return replace(verdict, total=None, failure=f"the reward is {verdict.total}")


def _joined(verdicts: Sequence[Reward]) -> Reward:
    """The parts of a judge who could not tell are left out."""
    first, failures = verdicts[0], [verdict.failure for verdict in verdicts if verdict.failure]
    told = [verdict for verdict in verdicts if verdict.total is not None]
    parts = {part: value for verdict in told for part, value in verdict.parts.items()}
    return replace(first, parts=parts, failure="; ".join(failures) or None)


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises OutOfTime inside when `seconds` are over; only in the main thread, the only one that signals reach."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def strike(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
