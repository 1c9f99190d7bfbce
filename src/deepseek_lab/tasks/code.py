"""Programs with unit tests: a completion's program is run on inputs, and only all outputs right is right.

This is the 0-1 feedback from which DeepSeek-Coder-V2's code rewards are made. It trains a reward model on it, because
tests may leave much uncovered; here the verdict itself is the reward. Programs run in a sandbox; where a machine
does not allow it, the task refuses to start.

The program stands between the answer's tags, with or without a fence of Markdown. Left out: other languages.
"""

import os
import random
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from deepseek_lab.config import ConfigError
from deepseek_lab.input_files import row_files
from deepseek_lab.tasks.answers import NoAnswer, answer_in
from deepseek_lab.tasks.code_problems import CodeExample, drawn_problem, problems_in
from deepseek_lab.tasks.generated import Drawn, GeneratedConfig, first_examples, split_of
from deepseek_lab.tasks.outputs import same_text, same_value
from deepseek_lab.tasks.sandbox.runner import Outcome, Sandbox, SandboxError
from deepseek_lab.tasks.task import SPLITS, Example, Reward, Split, Worked
from deepseek_lab.tasks.thought import keeps_form

LONGEST_PROGRAM = 10_000
_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)\n?```", re.DOTALL)


class Code:
    """Problems of files, or of templates where `path` is null."""

    @dataclass(frozen=True, kw_only=True)
    class Config(GeneratedConfig):
        """n_tests: of a template's problem; processes: programs that run at a time, null for one a core.

        The rest are the limits of `Sandbox`.
        """

        path: str | None = None
        n_tests: int = 5
        sandbox: Literal["namespaces", "unsafe"] = "namespaces"
        cpu_seconds: int = 2
        wall_seconds: float = 10.0
        memory_bytes: int = 512 * 2**20
        output_bytes: int = 2**16
        processes: int | None = None

        def check(self) -> None:
            super().check()
            self.require_positive("n_tests", "processes")
            self.limits()

        def limits(self) -> Sandbox.Config:
            """The sandbox's own config."""
            return Sandbox.Config(
                kind=self.sandbox,
                cpu_seconds=self.cpu_seconds,
                wall_seconds=self.wall_seconds,
                memory_bytes=self.memory_bytes,
                output_bytes=self.output_bytes,
            )

        def build(self) -> "Code":
            """Tries the sandbox and reads the files. Raises ConfigError, DataError."""
            return Code(self)

    def __init__(self, config: Config) -> None:
        self.config = config
        self._sandbox = config.limits().build()
        self._of_files: dict[Split, list[Example]] | None = None
        if config.path is not None:
            self._of_files = {split: [] for split in SPLITS}
            problems = {problem.question: problem for problem in problems_in(row_files(config.path).files)}
            for question, problem in problems.items():
                self._of_files[split_of(question, config.held_out)].append(problem)

    @property
    def name(self) -> str:
        return "code"

    def examples(self, split: Split, count: int) -> list[Example]:
        """The first `count` problems of a split. Raises ConfigError when there are fewer."""
        if self._of_files is None:
            return first_examples(self._draw, self.name, split, count, self.config)
        there = self._of_files[split]
        if len(there) < count:
            raise ConfigError(f"holds only {len(there)} {split} problems, not {count}", "task.path")
        return there[:count]

    def _draw(self, source: random.Random) -> Drawn:
        return drawn_problem(source, self.config.n_tests)

    def rewards(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Reward]:
        """1 where every output is right. Raises ValueError for another task's examples."""
        keys = [(e.question, completion) for e, completion in zip(examples, completions, strict=True)]
        each_once = dict(zip(keys, examples, strict=True))
        pool = ThreadPoolExecutor(self.config.processes or os.cpu_count() or 1)
        try:
            verdicts = {key: pool.submit(self._reward, example, key[1]) for key, example in each_once.items()}
            return [verdicts[key].result() for key in keys]
        finally:
            pool.shutdown(cancel_futures=True)  # where a clock of the caller's strikes, the rest is not begun

    def vote(self, completion: str) -> str | None:
        """The program's text."""
        try:
            return program_in(completion)
        except NoAnswer:
            return None

    def worked(self, example: Example, draw: random.Random) -> Worked:
        """The problem's own program; there is nothing to think aloud and nothing to draw."""
        return Worked(thought="", answer=example.answer)

    def _reward(self, example: Example, completion: str) -> Reward:
        if not isinstance(example, CodeExample):
            raise ValueError(f"no problem with tests: {example.question!r}")
        form = float(keeps_form(completion))
        try:
            program = program_in(completion)
        except NoAnswer as why:
            return Reward(total=0.0, parts=_parts(form, []), failure=str(why))
        try:
            outcomes = self._sandbox.outcomes(program, example.entry, [given for given, _ in example.tests])
        except SandboxError as why:
            return Reward(total=None, parts=_parts(form, []), failure=f"the sandbox failed: {why}")
        return _verdict(form, example, outcomes)


def _verdict(form: float, example: CodeExample, outcomes: Sequence[Outcome]) -> Reward:
    same = same_text if example.entry is None else same_value
    right = [
        outcome.error is None and same(expected, outcome.value)
        for (_, expected), outcome in zip(example.tests, outcomes, strict=True)
    ]
    return Reward(
        total=float(all(right)),
        parts=_parts(form, right),
        failure=next((outcome.error for outcome in outcomes if outcome.error), None),
        reproducible=not any(outcome.timed_out for outcome in outcomes),
    )


def _parts(form: float, right: Sequence[bool]) -> dict[str, float]:
    """`tests`: the share that pass, for a curve alone."""
    share = sum(right) / len(right) if right else 0.0
    return {"correct": float(share == 1.0), "format": form, "tests": share}


def program_in(completion: str) -> str:
    """The program between the answer's tags. Raises NoAnswer."""
    text = answer_in(completion, LONGEST_PROGRAM)
    fenced = _FENCE.fullmatch(text)
    program = fenced[1] if fenced else text
    if not program.strip():
        raise NoAnswer("the answer is empty")
    return program
