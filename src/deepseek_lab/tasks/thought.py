"""The thought in a completion: where it stands, what its lines are, and whether the form of R1-Zero is kept.

The form (DeepSeek-R1 §2.2.2): one thought in its tags, then one answer in its tags, and nothing else.

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
    """Whether a completion is one thought and one answer in this order, with nothing but white space around them."""
    place, between = 0, []
    for tag in (OPEN, CLOSE, ANSWER_OPEN, ANSWER_CLOSE):
        if completion.count(tag) != 1 or completion.index(tag) < place:
            return False
        between.append(completion[place : completion.index(tag)])
        place = completion.index(tag) + len(tag)
    before, _, gap, answer = between
    return answer.strip() != "" and not (before.strip() or gap.strip() or completion[place:].strip())


def thought_span(completion: str) -> tuple[int, int]:
    """First character and end of the thought: up to its tag, or else to the answer's, or to the text's end."""
    start = len(completion) - len(completion.lstrip())
    start = start + len(OPEN) if completion.startswith(OPEN, start) else 0
    ends = (completion.find(tag, start) for tag in (CLOSE, ANSWER_OPEN))
    return start, min((end for end in ends if end >= 0), default=len(completion))


def thought_lines(completion: str) -> Iterator[Line]:
    """The lines of the thought that are not blank. A completion that opens with its answer has none."""
    place, stop = thought_span(completion)
    for line in completion[place:stop].split("\n"):
        place += len(line)
        if line.strip():
            yield Line(line.strip(), place)
        place += 1
