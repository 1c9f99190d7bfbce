"""The road of a pipeline as a report sees it: its steps with what they were measured to do, seed by seed.

Read are `road.json` and, in the folders that it names, the attempts of each measurement, the curves of each training
and what rejection sampling kept. A step that is not finished is there without figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from deepseek_lab.config import DataError
from deepseek_lab.objectives.pass_at_k import majority_share, pass_at_k
from deepseek_lab.report.run_files import METRICS, json_object, json_rows, whole_text

FILE, SPENT = "road.json", "spent.json"
THINKS = "<think>"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All attempts of one model at one test; `rows` as scripts/evaluate.py writes them, a question each.

    split: which questions were asked, train, validation or test
    spent: of a test at an equal cost, what the checkpoint it measured had cost
    """

    rows: tuple[dict[str, Any], ...]
    k: int
    split: str = "test"
    spent: dict[str, float] = field(default_factory=dict)

    @property
    def questions(self) -> list[str]:
        """What was asked, in order."""
        return [row["question"] for row in self.rows]

    def pass_at(self, k: int) -> list[float]:
        """pass@k of every question."""
        return [pass_at_k(len(row["right"]), sum(row["right"]), k) for row in self.rows]

    @property
    def majority(self) -> list[float]:
        """Of every question whether the answer given most often is right."""
        return [majority_share(row["votes"], row["right"]) for row in self.rows]

    @property
    def mean_length(self) -> float:
        """Tokens of an attempt."""
        return fmean(length for row in self.rows for length in row["lengths"])

    @property
    def thinks(self) -> float:
        """Share of attempts that hold a thought."""
        return fmean(THINKS in text for row in self.rows for text in row["said"])

    def of_family(self, family: str) -> "Measured":
        """The questions of one task of a mixture."""
        return replace(self, rows=tuple(row for row in self.rows if row["family"] == family))

    @property
    def families(self) -> list[str]:
        """The tasks that a mixture asks; empty where there is no mixture."""
        return sorted({row["family"] for row in self.rows if row.get("family")})


@dataclass(frozen=True, kw_only=True)
class RoadStep:
    """One step of one seed; `tests` under their names, `reads` the steps it was made from.

    `reads` and `tokens_drawn` are not in the record of an older pipeline; None then.
    """

    name: str
    seed: int
    script: str
    what: str
    control: bool
    folder: Path
    done: bool
    seconds: float
    planned_minutes: float
    attempts: int
    flops: float
    start: str | None = None
    reads: tuple[str, ...] | None = None
    tokens_drawn: float | None = None
    measuring_seconds: float = 0.0
    tests: dict[str, Measured] = field(default_factory=dict)

    @cached_property
    def curves(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`; none for a step that trains nothing, or has not begun."""
        path = self.folder / METRICS
        return json_rows(path, whole_text(path)) if path.is_file() else []

    def curve(self, name: str) -> list[tuple[int, float]]:
        """Steps and values of one curve."""
        return [(row["step"], row[name]) for row in self.curves if isinstance(row.get(name), (int, float))]

    @property
    def learns_from_rewards(self) -> bool:
        """Whether it is a stage of reinforcement learning."""
        return bool(self.curve("reward"))


@dataclass(frozen=True, kw_only=True)
class Road:
    """All steps in their order; `tests` names the measurements and says what they are.

    budgets: of tests at an equal cost what is spent (tokens or flops), and how much of it
    """

    title: str
    root: Path
    seeds: tuple[int, ...]
    tests: dict[str, str]
    compare: dict[str, list[str]]
    steps: tuple[RoadStep, ...]
    budgets: dict[str, tuple[str, float]] = field(default_factory=dict)

    def of_seed(self, seed: int) -> list[RoadStep]:
        """The steps of one seed."""
        return [step for step in self.steps if step.seed == seed]

    def step(self, name: str, seed: int) -> RoadStep:
        """Raises KeyError when there is none."""
        for step in self.of_seed(seed):
            if step.name == name:
                return step
        raise KeyError(name)

    @property
    def names(self) -> list[str]:
        """Of the steps of every seed, in order."""
        return list(dict.fromkeys(step.name for step in self.steps))

    def measured(self, name: str, test: str) -> list[Measured]:
        """What a step was measured to do, of each seed that has it."""
        found = (step.tests.get(test) for step in self.steps if step.name == name)
        return [one for one in found if one is not None]


def read_road(root: Path) -> Road:
    """Raises DataError when the folder is no pipeline's, or a file in it is broken."""
    path = root / FILE
    if not path.is_file():
        raise DataError(f"{root}: holds no {FILE}, which scripts/pipeline.py writes")
    content = json_object(path, path.read_text(encoding="utf-8"))
    rows = content["steps"]
    steps = tuple(_step(row, rows, root) for row in rows if row["test"] is None)
    return Road(
        title=content["title"],
        root=root,
        seeds=tuple(content["seeds"]),
        tests=content["tests"],
        compare=content["compare"],
        steps=steps,
        budgets={test: (kind, most) for test, (kind, most) in content.get("budgets", {}).items()},
    )


def _step(row: dict[str, Any], rows: Sequence[dict[str, Any]], root: Path) -> RoadStep:
    own = [one for one in rows if one["test"] and (one["name"], one["seed"]) == (row["name"], row["seed"])]
    names = ("name", "seed", "script", "what", "control", "done", "seconds", "planned_minutes", "attempts", "flops")
    return RoadStep(
        **{name: row[name] for name in names},
        start=row.get("start"),
        reads=tuple(row["reads"]) if "reads" in row else None,
        tokens_drawn=row.get("tokens_drawn"),
        folder=root / row["folder"],
        measuring_seconds=sum(one["seconds"] for one in own),
        tests={one["test"]: _measured(root / one["folder"]) for one in own if one["done"]},
    )


def _measured(folder: Path) -> Measured:
    files = sorted(folder.glob("eval_*.jsonl"))
    if len(files) != 1:
        raise DataError(f"{folder}: holds {len(files)} files of attempts, not one")
    rows = tuple(json_rows(files[0], whole_text(files[0])))
    if not rows:
        raise DataError(f"{files[0]}: is empty")
    spent = folder / SPENT
    return Measured(
        rows=rows,
        k=len(rows[0]["right"]),
        split=files[0].stem.rpartition("_")[2],
        spent=json_object(spent, spent.read_text(encoding="utf-8")) if spent.exists() else {},
    )
