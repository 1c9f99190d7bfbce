"""What the policy wrote and what became of it: `completions.jsonl`, and one group as a table in TensorBoard.

Every so many iterations all answers of rank 0 go into the file with the parts of their reward, their advantage, their
ratio, how much of them was clipped and their share of the loss; the table shows the first group that has spread.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from deepseek_lab.rollout.group import Group
from deepseek_lab.trainer_plugins.json_lines import JsonLines

_WIDTH = 64
_COLUMNS = ("reward", "advantage", "ratio", "clipped", "loss_share")


class Transcripts(Callback):
    """Of a stage that has `rollout` and `ledger`; any other stage writes nothing."""

    def __init__(self, run_folder: Path, resume_step: int | None = None) -> None:
        self._file = JsonLines(run_folder / "completions.jsonl", resume_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Of the iteration just finished, where it is to be shown."""
        if getattr(pl_module, "ledger", None) is None or not trainer.is_global_zero:
            return
        groups = with_numbers(pl_module.rollout.transcript, pl_module.ledger.rows())
        self._file.add(pl_module.steps_done, {"groups": groups})
        self._file.write()
        shown = next((group for group in groups if _has_spread(group)), groups[0])
        pl_module.records.text("completions", table(shown))


def with_numbers(groups: Sequence[Group], numbers: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """Groups as plain values, their answers in the order of `numbers`."""
    rows = iter(numbers)
    return [
        {
            "question": group.example.question,
            "answer": group.example.answer,
            "answers": [_answer(group, place) | dict(next(rows)) for place in range(len(group.said))],
        }
        for group in groups
    ]


def _answer(group: Group, place: int) -> dict[str, Any]:
    verdict, reward = group.verdicts[place], group.rewards[place]
    return {
        "said": group.said[place],
        "tokens": group.lengths[place],
        "finish_reason": group.completions[place].finish_reason,
        "reward": reward if reward == reward else None,
        "parts": dict(verdict.parts),
        "failure": verdict.failure,
    }


def _has_spread(group: Mapping[str, Any]) -> bool:
    return len({answer["reward"] for answer in group["answers"]}) > 1


def table(group: Mapping[str, Any]) -> str:
    """A group for a person: the question, then a line an answer."""
    names = list(dict.fromkeys(name for answer in group["answers"] for name in answer["parts"]))
    head = [*_COLUMNS[:1], *names, *_COLUMNS[1:]]
    lines = [f"{group['question']}   (right: {group['answer']})", "  ".join([*(f"{n:>10}" for n in head), "said"])]
    for answer in group["answers"]:
        values = {**answer["parts"], **{name: answer[name] for name in _COLUMNS}}
        numbers = [f"{_shown(values.get(name)):>{max(10, len(name))}}" for name in head]
        lines.append("  ".join([*numbers, _short(answer["said"])]))
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _short(text: str) -> str:
    """On one line, its middle left out where it is long."""
    line = text.replace("\n", "⏎")
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH // 2]} … {line[-_WIDTH // 2 :]}"
