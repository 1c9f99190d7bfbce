"""The same questions answered by every step of a road, side by side: one that was learnt on the way, one that was not.

What is shown is each step's first attempt, not its best.
"""

from collections.abc import Iterator
from typing import Any

from deepseek_lab.report.document import Block, Cells, Paragraph
from deepseek_lab.report.road import Road


def transcripts(road: Road, test: str, n_questions: int = 2) -> Iterator[Block]:
    """A table a question."""
    steps = [step for step in road.of_seed(road.seeds[0]) if test in step.tests]
    if not steps:
        return
    for question in _chosen([step.tests[test].rows for step in steps], n_questions):
        rows = []
        for step in steps:
            found = next((row for row in step.tests[test].rows if row["question"] == question), None)
            if found is not None:
                rows.append((step.name, "right" if found["right"][0] else "wrong", shown(found["said"][0])))
        yield Paragraph(f"`{question}`")
        yield Cells(heads=("step", "", "first attempt"), rows=tuple(rows), n_words=3)


def _chosen(columns: list[tuple[dict[str, Any], ...]], count: int) -> list[str]:
    """Questions that the first step gets wrong and the last right, then any; of different tasks where there are."""
    first, last = columns[0], {row["question"]: row for row in columns[-1]}
    learnt = [row for row in first if not row["right"][0] and last.get(row["question"], row)["right"][0]]
    chosen: dict[str, str] = {}
    for row in [*learnt, *first]:
        chosen.setdefault(row.get("family", ""), row["question"])
    rest = [row["question"] for row in [*learnt, *first] if row["question"] not in chosen.values()]
    return [*chosen.values(), *rest][:count]


def shown(text: str, most: int = 320) -> str:
    """An answer in one line; line breaks are marked."""
    line = " ⏎ ".join(part.strip() for part in text.splitlines())
    return f"`{line[:most].replace('`', chr(39))}{'…' if len(line) > most else ''}`"
