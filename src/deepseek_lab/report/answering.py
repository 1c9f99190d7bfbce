"""From finished runs to what they show: the comparison that their question asks for, or one for each question.

Raises ConfigError where a typed baseline is none of the variants.
"""

from collections.abc import Sequence
from dataclasses import replace

from deepseek_lab.config import ConfigError
from deepseek_lab.report.comparison import Comparison, compare
from deepseek_lab.report.findings import Evidence, evidence
from deepseek_lab.report.question import Question, read_question
from deepseek_lab.report.reproduction import source_warnings
from deepseek_lab.report.runs import Run


def by_question(finished: Sequence[Run]) -> list[tuple[Evidence, tuple[str, ...]]]:
    """The evidence and warnings of each question that the runs ask, in their order; runs that ask none are left out."""
    asked: dict[Question, list[Run]] = {}
    for run in finished:
        asked.setdefault(read_question([run.folder]), []).append(run)
    answers = [answer(runs, None, None) for question, runs in asked.items() if question.text]
    return [(shown, tuple(warnings)) for shown, warnings in answers]


def answer(finished: Sequence[Run], baseline: str | None, metrics: Sequence[str] | None) -> tuple[Evidence, list[str]]:
    """The comparison that the runs' question asks for, or the command line; and what a reader must know."""
    question = read_question([run.folder for run in finished])
    if metrics is not None:
        question = replace(question, metrics=tuple(metrics))
    comparison, warnings = _compared(finished, question, baseline)
    counted = [run for variant in comparison.variants for run in variant.runs]
    return evidence(comparison, question), [*warnings, *comparison.warnings, *source_warnings(counted)]


def _compared(finished: Sequence[Run], question: Question, typed: str | None) -> tuple[Comparison, list[str]]:
    """A typed baseline must be there; the ablation's may not be finished yet, or its axis was replaced."""
    if typed is not None or question.baseline is None:
        return compare(finished, typed), []
    try:
        return compare(finished, question.baseline), []
    except ConfigError:
        comparison = compare(finished)
        words = f"The ablation's baseline ({question.baseline}) has no finished run here; {comparison.baseline.label}"
        return comparison, [f"{words} stands in for it."]
