"""The thought in a completion: where it stands, what its lines are, and whether the form of R1-Zero is kept.

The form (DeepSeek-R1 §2.2.2): one thought in its tags, then one answer in its tags, and nothing else. The thought
may be empty: whether there is any is a matter of `language` and of length, not of form.

Everything here is linear in the completion's length.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from deepseek_lab.tasks.answers import CLOSE as ANSWER_CLOSE
from deepseek_lab.tasks.answers import OPEN as ANSWER_OPEN

OPEN, CLOSE = "<think>", "</think>"


@dataclass(frozen=True)
class Line:
    """A line of a thought without white space around it; `end`: where it ends, in characters of the completion."""

    text: str
    end: int


def keeps_form(completion: str) -> bool:
    """Whether a completion is one thought and one answer in this order, with nothing but white space around them.

    What the thought holds is its own matter, be it a draft of the answer in its tags.
    """
    thought, closed, said = (part.strip() for part in completion.partition(CLOSE))
    if not closed or not thought.startswith(OPEN) or thought.count(OPEN) != 1 or OPEN in said or CLOSE in said:
        return False
    if said.count(ANSWER_OPEN) != 1 or said.count(ANSWER_CLOSE) != 1:
        return False
    inside = said.removeprefix(ANSWER_OPEN).removesuffix(ANSWER_CLOSE)
    return inside.strip() != "" and len(inside) == len(said) - len(ANSWER_OPEN) - len(ANSWER_CLOSE)


def thought_span(completion: str) -> tuple[int, int]:
    """First character and end of the thought: up to its own tag, or, where there is none, the answer's or the end."""
    start = len(completion) - len(completion.lstrip())
    start = start + len(OPEN) if completion.startswith(OPEN, start) else 0
    ends = (completion.find(tag, start) for tag in (CLOSE, ANSWER_OPEN))
    return start, next((end for end in ends if end >= 0), len(completion))


def thought_lines(completion: str) -> Iterator[Line]:
    """The lines of the thought that are not blank. A completion that opens with its answer has none."""
    place, stop = thought_span(completion)
    for line in completion[place:stop].split("\n"):
        place += len(line)
        if line.strip():
            yield Line(line.strip(), place)
        place += 1
