"""Problems whose answer is a Python program, with inputs and expected outputs: from files, or made by templates.

Files are jsonl. With `entry` the program defines that function, without it reads stdin and prints:

    {"question": "Write f(a, b) …", "entry": "f", "tests": [{"input": [1, 2], "output": 3}, …]}
    {"question": "Read a number …", "tests": [{"input": "3\\n", "output": "4\\n"}, …]}

The templates are small functions of numbers and lists, for trying things out without any data.
Left out: degrees of correctness, and programs that have more than one right output.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseek_lab.config import DataError
from deepseek_lab.input_files import rows
from deepseek_lab.tasks.generated import Drawn
from deepseek_lab.tasks.task import Example

ENTRY = "f"


@dataclass(frozen=True, kw_only=True)
class CodeExample(Example):
    """entry: the function that is called; None for programs that read and print. tests: (input, expected output)."""

    entry: str | None
    tests: tuple[tuple[Any, Any], ...]


def problems_in(files: Sequence[Path]) -> Iterator[CodeExample]:
    """Every row of the files. Raises DataError, naming the place, for anything else."""
    for where, row in rows(files):
        yield problem_of(row, where)


def problem_of(row: dict[str, Any], where: str) -> CodeExample:
    """One row. Raises DataError."""
    question, entry, answer = row.get("question"), row.get("entry"), row.get("answer", "")
    if not isinstance(question, str) or not question.strip() or not isinstance(answer, str):
        raise DataError(f"{where}: needs a text 'question', and 'answer' is a text if there is one")
    if entry is not None and not (isinstance(entry, str) and entry.isidentifier()):
        raise DataError(f"{where}: 'entry' must be the name of a function, not {entry!r}")
    tests = row.get("tests")
    if not isinstance(tests, list) or not tests:
        raise DataError(f"{where}: needs a list 'tests'")
    pairs = tuple(_test(test, entry, f"{where}, test {number}") for number, test in enumerate(tests, start=1))
    return CodeExample(question=question.strip(), answer=answer, entry=entry, tests=pairs, difficulty=len(pairs))


def _test(test: Any, entry: str | None, where: str) -> tuple[Any, Any]:
    if not isinstance(test, dict) or not {"input", "output"} <= test.keys():
        raise DataError(f"{where}: needs 'input' and 'output'")
    given, expected = test["input"], test["output"]
    if entry is not None and not isinstance(given, list):
        raise DataError(f"{where}: 'input' must be the list of the function's arguments")
    if entry is None and not (isinstance(given, str) and isinstance(expected, str)):
        raise DataError(f"{where}: 'input' and 'output' must be texts where there is no 'entry'")
    return given, expected


@dataclass(frozen=True)
class Template:
    """`{n}` stands for a number from 2 to 20; the rule is what `program` does, the inputs are drawn."""

    question: str
    program: str
    rule: Callable[[Any, int], Any]
    of_lists: bool
    difficulty: int


TEMPLATES = (
    Template("f(x) returns x plus {n}.", "return x + {n}", lambda x, n: x + n, False, 1),
    Template("f(x) returns {n} times x.", "return {n} * x", lambda x, n: n * x, False, 1),
    Template("f(x) returns the remainder of x divided by {n}.", "return x % {n}", lambda x, n: x % n, False, 1),
    Template("f(x) returns the larger of x and {n}.", "return max(x, {n})", lambda x, n: max(x, n), False, 1),
    Template("f(x) tells whether {n} divides x.", "return x % {n} == 0", lambda x, n: x % n == 0, False, 2),
    Template(
        "f(x) counts the numbers of the list x above {n}.",
        "return sum(a > {n} for a in x)",
        lambda x, n: sum(a > n for a in x),
        True,
        3,
    ),
    Template(
        "f(x) adds {n} to each number of the list x.",
        "return [a + {n} for a in x]",
        lambda x, n: [a + n for a in x],
        True,
        3,
    ),
    Template(
        "f(x) drops the numbers of the list x that {n} divides.",
        "return [a for a in x if a % {n}]",
        lambda x, n: [a for a in x if a % n],
        True,
        4,
    ),
)
_DRAWN_NUMBERS = range(2, 51)


def drawn_problem(source: random.Random, n_tests: int) -> Drawn:
    """A problem of a template; its inputs depend on the question alone."""
    template, number = source.choice(TEMPLATES), source.choice(_DRAWN_NUMBERS)
    question = template.question.format(n=number)
    draw = random.Random(question)
    inputs = [[draw.randrange(60) for _ in range(draw.randrange(6))] for _ in range(n_tests)]
    given = inputs if template.of_lists else [draw.randrange(-99, 100) for _ in range(n_tests)]
    example = CodeExample(
        question=f"Write a Python function. {question}",
        answer=f"def {ENTRY}(x):\n    {template.program.format(n=number)}",
        entry=ENTRY,
        tests=tuple(([x], template.rule(x, number)) for x in given),
        difficulty=template.difficulty,
    )
    return Drawn(f"code {question}", example)
