r"""Word problems from files in the form of GSM8K (Cobbe et al. 2021): the answer stands behind `####`.

    {"question": "Natalia sold …", "answer": "She sold 48/2 = <<48/2=24>>24 in May.\n#### 72"}

Without `test_path` a hash of the question divides one set of files in three. With it, its problems are the
test, and problems of `path` that are asked there too are left out.

An answer is a number as people write it, with its unit or without, in `<answer>` or in `\boxed{}`; it is right when
it is equal to the file's. Left out: whether the unit is right; a judgement of the thought's lines.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.input_files import row_files, rows
from deepseek_lab.tasks.answers import NoAnswer, answer_or_box, decimal, plain, quantity
from deepseek_lab.tasks.generated import GeneratedConfig, split_of
from deepseek_lab.tasks.task import SPLITS, Example, Reward, Split, Worked
from deepseek_lab.tasks.verdict import verdict

_ANNOTATION = re.compile(r"<<[^<>]*>>")
"""What GSM8K's calculator was asked."""


@dataclass(frozen=True)
class Problem:
    """A problem, and how it is worked, without the answer's line."""

    example: Example
    thought: str


class GradeSchoolMath:
    """The problems of the files that `path` names."""

    @dataclass(frozen=True, kw_only=True)
    class Config(GeneratedConfig):
        """path, test_path: a .jsonl file or a folder of them; seed: of the problems' order."""

        path: str
        test_path: str | None = None

        def build(self) -> "GradeSchoolMath":
            """Reads the files. Raises ConfigError when there are none, DataError for a bad row."""
            return GradeSchoolMath(self)

    def __init__(self, config: Config) -> None:
        problems = {p.example.question: p for p in _problems(config.path, "path")}
        tests = {p.example.question: p for p in _problems(config.test_path, "test_path")} if config.test_path else {}
        self._problems = problems | tests
        self._splits: dict[Split, list[Example]] = {split: [] for split in SPLITS}
        for question, problem in self._problems.items():
            self._splits[_split(question, tests, config)].append(problem.example)
        for split, examples in self._splits.items():
            random.Random(f"{config.seed} {split}").shuffle(examples)

    @property
    def name(self) -> str:
        return "gsm8k"

    def examples(self, split: Split, count: int) -> list[Example]:
        """The first `count` problems of a split. Raises ConfigError when the files hold fewer."""
        there = self._splits[split]
        if len(there) < count:
            raise ConfigError(f"holds only {len(there)} {split} problems, not {count}", "task.path")
        return there[:count]

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """1 for the right number in its tags or its box, else 0."""
        return [self._reward(*pair) for pair in zip(examples, completions, strict=True)]

    def vote(self, completion: str) -> str | None:
        """The number as a whole one or a fraction."""
        try:
            return str(quantity(answer_or_box(completion)))
        except NoAnswer:
            return None

    def worked(self, example: Example, draw: random.Random) -> Worked:
        """As the file has it; `draw` has nothing to choose."""
        return Worked(thought=self._problems[example.question].thought, answer=example.answer)

    def _reward(self, example: Example, completion: str) -> Reward:
        right = Fraction(example.answer)
        return verdict(completion, lambda answer: quantity(answer) == right, read=answer_or_box)


def _split(question: str, tests: dict[str, Problem], config: GradeSchoolMath.Config) -> Split:
    """With tests of their own, the rest is divided in train and validation."""
    if not tests:
        return split_of(question, config.held_out)
    if question in tests:
        return "test"
    return "validation" if split_of(question, config.held_out) == "validation" else "train"


def _problems(path: str, field: str) -> Iterator[Problem]:
    for where, row in rows(row_files(path, field).files):
        yield problem_of(row, where)


def problem_of(row: dict[str, Any], where: str) -> Problem:
    """One row. Raises DataError, naming the place, unless it is a question with a number behind `####`."""
    question, answer = row.get("question"), row.get("answer")
    if not isinstance(question, str) or not isinstance(answer, str) or not question.strip():
        raise DataError(f"{where}: needs the texts 'question' and 'answer'")
    thought, mark, number = answer.rpartition("####")
    if not mark:
        raise DataError(f"{where}: the answer has no ####")
    number = number.strip()
    try:
        value = quantity(number)
    except NoAnswer:
        raise DataError(f"{where}: {number[:40]!r} behind #### is no number") from None
    thought = _ANNOTATION.sub("", thought).strip()
    lines = len([line for line in thought.splitlines() if line.strip()])
    return Problem(Example(question=question.strip(), answer=_shortest(number, value), difficulty=lines), thought)


def _shortest(number: str, value: Fraction) -> str:
    """The number as the file writes it, without its commas; without its unit, too, where it has one."""
    try:
        decimal(number)
    except NoAnswer:
        return str(value)
    return plain(number).replace(",", "")
