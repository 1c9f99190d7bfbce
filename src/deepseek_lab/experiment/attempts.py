"""`scripts/evaluate.py what=task`: a model's attempts at a task, as pass@k and majority vote with intervals.

Every question gets `samples` attempts; pass@k is estimated from all of them (Chen et al. 2021), its interval by
bootstrap over questions; the majority's verdict is one yes or no a question, its interval Wilson's. How an
attempt ended is counted too: a low score with most attempts cut off asks for more tokens, not for more training.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from deepseek_lab.checkpoint.atomic import write_text_atomically
from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.experiment.continuation import answered
from deepseek_lab.experiment.finished import FinishedRun
from deepseek_lab.experiment.published import PublishedModel
from deepseek_lab.generation import Completion, Request, Sampling
from deepseek_lab.objectives.pass_at_k import majority_share, pass_at_k
from deepseek_lab.report.proportions import CONFIDENCE, bootstrap, wilson
from deepseek_lab.rollout.group import is_right
from deepseek_lab.serving.speaker import Speaker, load_speaker, sampling_of
from deepseek_lab.tasks.task import Example, Task
from deepseek_lab.text.question_prompt import QuestionPrompt

DONE = "DONE"


@dataclass(frozen=True, kw_only=True)
class AttemptsTest(CheckedConfig):
    """samples: attempts at each question; k: the pass@k to report; prompt: what the model is given for `{question}`."""

    questions: int
    samples: int
    k: list[int]
    prompt: str
    chat: bool
    thinking: bool
    max_new_tokens: int
    seed: int

    def check(self) -> None:
        self.require_positive("questions", "samples", "max_new_tokens")
        self.require_not_negative("seed")
        if not self.k or min(self.k) < 1 or max(self.k) > self.samples:
            raise ConfigError(f"must be numbers from 1 to samples = {self.samples}, not {list(self.k)}", "k")
        self.question_prompt()

    def question_prompt(self) -> QuestionPrompt:
        """How questions are put. Raises ConfigError."""
        return QuestionPrompt.Config(prompt=self.prompt, chat=self.chat, thinking=self.thinking).build()


@dataclass(frozen=True)
class Attempts:
    """All that was said to one question, and whether each is right; None where nobody can tell."""

    example: Example
    said: Sequence[str]
    totals: Sequence[float | None]
    votes: Sequence[str | None]
    cut_off: Sequence[bool]
    lengths: Sequence[int]
    """In tokens, the end included."""

    @property
    def right(self) -> list[bool]:
        """An attempt nobody can judge is not right."""
        return [total is not None and total >= 1.0 for total in self.totals]


def measure(attempts: Sequence[Attempts], name: str, ks: Sequence[int]) -> dict[str, Any]:
    """The figures of a task, each with its interval."""
    n = len(attempts[0].said)
    figures: dict[str, Any] = {"confidence": CONFIDENCE, "intervals": {}}
    for k in sorted(set(ks)):
        values = [pass_at_k(n, sum(a.right), k) for a in attempts]
        figures[f"eval/{name}/pass@{k}"] = fmean(values)
        figures["intervals"][f"eval/{name}/pass@{k}"] = [*bootstrap(values), _kind(values)]
    verdicts = [majority_share(a.votes, a.right) for a in attempts]
    figures[f"eval/{name}/maj@{n}"] = fmean(verdicts)
    figures["intervals"][f"eval/{name}/maj@{n}"] = [*wilson(sum(verdicts), len(verdicts)), "Wilson"]
    figures["questions"], figures["samples"] = len(attempts), n
    figures["answered"] = fmean(vote is not None for a in attempts for vote in a.votes)
    figures["cut_off"] = fmean(cut for a in attempts for cut in a.cut_off)
    figures["mean_length"] = fmean(length for a in attempts for length in a.lengths)
    return figures


def _kind(values: Sequence[float]) -> str:
    """What `bootstrap` gives the interval of."""
    return "bootstrap over questions" if min(values) < max(values) else "Wilson (all questions alike)"


def attempted(
    task: Task, examples: Sequence[Example], test: AttemptsTest, speaker: Speaker, sampling: Sampling
) -> list[Attempts]:
    """Has the model try each question. Raises ConfigError when the attempts do not fit behind a question."""
    prompt = test.question_prompt()
    prompts = [prompt.encode(speaker.chat, example.question) for example in examples]
    room = min(map(speaker.room, prompts))
    if test.max_new_tokens > room:
        raise ConfigError(f"is {test.max_new_tokens}, behind the questions there is room for {room}", "max_new_tokens")
    requests = [
        Request(
            prompt=ids,
            max_new_tokens=test.max_new_tokens,
            sampling=sampling,
            stop_ids=speaker.stop_ids,
            seed=test.seed + place,
            n=test.samples,
        )
        for place, ids in enumerate(prompts)
    ]
    answers = answered(requests, speaker)
    return [_judged(task, *row, prompt, speaker) for row in zip(examples, answers, strict=True)]


def _judged(
    task: Task, example: Example, answers: Sequence[Completion], prompt: QuestionPrompt, speaker: Speaker
) -> Attempts:
    said = [prompt.judged_text(speaker.chat, answer.ids, speaker.stop_ids) for answer in answers]
    rewards = task.rewards([example] * len(said), said)
    cut_off = [answer.finish_reason != "stop" for answer in answers]
    totals = [None if r.total is None else float(is_right(r)) for r in rewards]
    votes, lengths = [task.vote(text) for text in said], [len(answer.ids) for answer in answers]
    return Attempts(example, said, totals, votes, cut_off, lengths)


def evaluate_task(cfg: DictConfig, run: FinishedRun | PublishedModel, task: Task, test: AttemptsTest) -> dict[str, Any]:
    """Runs the test; writes `eval_<task>_<split>.json` and every attempt beside it (`.jsonl`); prints a table.

    They go to the run's folder, or to a folder of their own (`out`), which is marked as done behind them.
    """
    examples = task.examples(cfg.split, test.questions)
    sampling = sampling_of(cfg)
    attempts = attempted(task, examples, test, load_speaker(cfg, run), sampling)
    figures = {"task": task.name, "split": cfg.split, **asdict(sampling), **measure(attempts, task.name, test.k)}
    folder = run.results if cfg.out is None else Path(str(cfg.out)).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"eval_{task.name}_{cfg.split}", figures, attempts)
    if cfg.out is not None:
        write_text_atomically(folder / DONE, "")
    Console(stderr=True, markup=False, emoji=False).print(table_of(figures))
    return figures


def _write(stem: Path, figures: dict[str, Any], attempts: Sequence[Attempts]) -> None:
    rows = [
        {
            "question": a.example.question,
            "answer": a.example.answer,
            "family": a.example.family,
            "said": list(a.said),
            "right": a.right,
            "votes": list(a.votes),
            "lengths": list(a.lengths),
        }
        for a in attempts
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text_atomically(stem.with_name(f"{stem.name}.jsonl"), lines)
    write_text_atomically(stem.with_name(f"{stem.name}.json"), json.dumps(figures, indent=1) + "\n")


def table_of(figures: dict[str, Any]) -> Table:
    """One row a figure that has an interval."""
    caption = (
        f"{figures['questions']} questions, {figures['samples']} attempts each; "
        f"{figures['answered']:.0%} gave an answer, {figures['cut_off']:.0%} were cut off"
    )
    table = Table("", "share", f"{figures['confidence']:.0%} interval", "of", caption=caption)
    for name, (low, high, kind) in figures["intervals"].items():
        table.add_row(name.removeprefix("eval/"), f"{figures[name]:.3f}", f"{low:.3f} … {high:.3f}", kind)
    return table
