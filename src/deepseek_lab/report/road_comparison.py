"""Two steps of a road, question by question: how far they are apart, and how sure that is.

Two intervals, which answer different questions. Over questions: other questions from the same source could have been
asked (paired bootstrap; of several seeds each question has its mean difference). Over seeds: the road could have been
walked again (Student's t of the seeds' mean differences). A difference is called one where both exclude zero.

All tests of the test split that both have taken can be joined to one of more questions; those of the validation split
served tuning and stay apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean

from deepseek_lab.report.intervals import paired_interval
from deepseek_lab.report.proportions import bootstrap_difference
from deepseek_lab.report.road import Measured, Road

FINAL = "test"
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """of_seed: for each seed one difference a question; same: whether all seeds were asked the same ones."""

    of_seed: tuple[tuple[float, ...], ...]
    same: bool

    @property
    def means(self) -> list[float]:
        """Of each seed."""
        return [fmean(one) for one in self.of_seed]

    @property
    def mean(self) -> float:
        """Over seeds and questions."""
        return fmean(self.means)

    @property
    def over_questions(self) -> Interval:
        """By paired bootstrap."""
        if self.same:
            return bootstrap_difference([fmean(column) for column in zip(*self.of_seed, strict=True)])
        return bootstrap_difference(list(chain.from_iterable(self.of_seed)))

    @property
    def over_seeds(self) -> Interval | None:
        """By Student's t; None for a single seed."""
        if len(self.of_seed) < 2:
            return None
        interval = paired_interval(self.means)
        return interval.low, interval.high

    @property
    def intervals(self) -> list[Interval]:
        """Those there are."""
        return [self.over_questions, *([self.over_seeds] if self.over_seeds else [])]

    @property
    def lowest(self) -> float:
        """The lower end of the wider claim."""
        return min(low for low, _ in self.intervals)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`name` less `other` at some tests as one; `several` is pass@k, of the tests with the most attempts."""

    name: str
    other: str
    tests: tuple[str, ...]
    n_questions: int
    seeds: tuple[int, ...]
    first: Difference
    several: Difference
    k: int

    @property
    def verdict(self) -> str:
        """In words."""
        if all(low > 0 for low, _ in self.first.intervals):
            return "better than"
        return "worse than" if all(high < 0 for _, high in self.first.intervals) else "not told apart from"


def compared(road: Road, tests: Sequence[str], name: str, other: str) -> Comparison | None:
    """Over the seeds in which both have taken all the tests; None where there is none."""
    pairs = {seed: found for seed in road.seeds if (found := _pairs(road, tests, name, other, seed))}
    if not pairs:
        return None
    columns = list(pairs.values())
    k = max(ours.k for ours, _ in columns[0])
    questions = [[ours.questions for ours, _ in found] for found in columns]
    same = all(asked == questions[0] for asked in questions)
    most = [[pair for pair in found if pair[0].k == k] for found in columns]
    return Comparison(
        name=name,
        other=other,
        tests=tuple(tests),
        n_questions=sum(len(ours.rows) for ours, _ in columns[0]),
        seeds=tuple(pairs),
        first=Difference(of_seed=tuple(_column(found, 1) for found in columns), same=same),
        several=Difference(of_seed=tuple(_column(found, k) for found in most), same=same),
        k=k,
    )


def _pairs(
    road: Road, tests: Sequence[str], name: str, other: str, seed: int
) -> list[tuple[Measured, Measured]] | None:
    """What both made of each test in one seed, on the same questions."""
    try:
        found = [(road.step(name, seed).tests[test], road.step(other, seed).tests[test]) for test in tests]
    except KeyError:
        return None
    return found if all(ours.questions == theirs.questions for ours, theirs in found) else None


def _column(pairs: Sequence[tuple[Measured, Measured]], k: int) -> tuple[float, ...]:
    """One difference a question, over all the tests."""
    each = ((ours.pass_at(k), theirs.pass_at(k)) for ours, theirs in pairs)
    return tuple(a - b for ours, theirs in each for a, b in zip(ours, theirs, strict=True))


def joined_tests(road: Road, name: str, other: str) -> list[str]:
    """The tests of the test split at their ends that both have taken."""
    return [
        test
        for test in road.tests
        if test not in road.budgets
        and all(found and found[0].split == FINAL for found in (road.measured(one, test) for one in (name, other)))
    ]
