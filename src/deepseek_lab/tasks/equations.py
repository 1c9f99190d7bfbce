"""Equations in the lines of a thought: whether they read as such, whether they hold, where their numbers are from.

A line is one equation or several with commas between them: `8*3=24, 24+5=29`.

`equation_share` is what stands here for DeepSeek-R1's language consistency (§2.3.2, the share of words of the
thought in the language that is asked for): the language of these tasks is equations, and right or wrong plays no
part in it. A completion without a thought has none of it.

`step_values` is a rule in place of a process reward model (DeepSeekMath §4.1.3).
"""

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from fractions import Fraction

from deepseek_lab.tasks.expression import LONGEST, NoExpression, parse
from deepseek_lab.tasks.thought import thought_lines

_MOST_LINES = 1_000
"""Lines of a thought that are looked at."""


@dataclass(frozen=True)
class Equation:
    """left: the numbers on the left side; right: the value stated; holds: whether the left side has this value."""

    left: Sequence[int]
    right: Fraction
    holds: bool


def equation_in(text: str) -> Equation | None:
    """`expression = number`; None for anything else."""
    left, equals, right = text.partition("=")
    if not equals:
        return None
    try:
        calculated, stated = parse(left), parse(right)
    except NoExpression:
        return None
    if len(stated.numbers) > 2:  # a number or a fraction
        return None
    return Equation(calculated.numbers, stated.value, calculated.value == stated.value)


def equations_in(line: str) -> list[Equation]:
    """All equations of a line; none where any part of it is no equation."""
    if len(line) > 4 * LONGEST:
        return []
    found = [equation_in(part) for part in line.split(",")]
    return [equation for equation in found if equation] if all(found) else []


def equation_share(completion: str) -> float:
    """Share of the thought's lines that read as equations; 0 without a thought."""
    lines = [line.text for line in thought_lines(completion)]
    return sum(bool(equations_in(line)) for line in lines[:_MOST_LINES]) / len(lines) if lines else 0.0


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How the lines of a thought are judged.

    given: the numbers to calculate with; each_line_anew: every line starts again from them
    most: how many right steps count, so that writing more of them earns nothing
    """

    given: Collection[int]
    most: int
    each_line_anew: bool = False


def step_values(completion: str, steps: Steps) -> list[tuple[int, float]]:
    """For each line of the thought where it ends, and 1 where it is a right step, else 0.

    A right step holds, was not written before, and calculates with numbers that are given or came out of an
    earlier right step: true but idle lines (`1=1`) earn nothing.
    """
    start = {Fraction(number) for number in steps.given}
    known, written, left = set(start), set[str](), steps.most
    values = []
    for line in list(thought_lines(completion))[:_MOST_LINES]:
        words = "".join(line.text.split())
        results = _followed(equations_in(line.text), start if steps.each_line_anew else known)
        right = bool(results) and words not in written and left > 0
        if right:
            known |= results
            left -= 1
        written.add(words)
        values.append((line.end, float(right)))
    return values


def _followed(equations: Sequence[Equation], known: AbstractSet[Fraction]) -> set[Fraction]:
    """What the equations of a line calculate one after another from `known`; nothing where a step is false."""
    results: set[Fraction] = set()
    for equation in equations:
        sound = equation.holds and len(equation.left) > 1
        if not sound or not all(number in known or number in results for number in equation.left):
            return set()
        results.add(equation.right)
    return results
