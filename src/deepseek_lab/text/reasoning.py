"""The thought and the answer of a reasoning model apart: `<think>…</think>` at the head of a response.

Only a tag at the very beginning opens a thought, so that an answer may speak of tags. White space around a
thought is no part of it, nor are the line breaks between it and the answer.
"""

from dataclasses import dataclass

from deepseek_lab.text.streamed import held_back

OPEN, CLOSE = "<think>", "</think>"


@dataclass(frozen=True)
class Parts:
    """What a piece of text adds to the thought and to the answer."""

    reasoning: str = ""
    answer: str = ""

    def __add__(self, other: "Parts") -> "Parts":
        return Parts(self.reasoning + other.reasoning, self.answer + other.answer)


class ReasoningSplitter:
    """Splits a text that comes in pieces; however it is cut, the parts add up to the same.

    thinking: the prompt has opened the thought already
    """

    def __init__(self, thinking: bool = False) -> None:
        self._state = "thought" if thinking else "start"
        self._pending = ""
        self._begun = False

    @property
    def thinking(self) -> bool:
        """Whether the thought is open."""
        return self._state == "thought"

    def feed(self, text: str) -> Parts:
        """What can be said now of all that has come; the rest is held back."""
        self._pending += text
        parts = self._opening() if self._state == "start" else Parts()
        if self._state == "thought":
            parts += self._thought()
        return parts + self._answer() if self._state == "answer" else parts

    def finish(self) -> Parts:
        """What was held back, at the end of the text."""
        pending, self._pending = self._pending, ""
        return Parts(reasoning=pending.rstrip()) if self.thinking else Parts(answer=pending)

    def _opening(self) -> Parts:
        """Finds out whether a thought begins."""
        head = self._pending.lstrip()
        if head.startswith(OPEN):
            self._state, self._pending = "thought", head.removeprefix(OPEN)
        elif not OPEN.startswith(head):
            self._state, self._begun = "answer", True
        return Parts()

    def _thought(self) -> Parts:
        """The thought up to its end; white space and half a tag wait."""
        text = self._pending if self._begun else self._pending.lstrip()
        thought, closed, rest = text.partition(CLOSE)
        if closed:
            self._state, self._pending, self._begun = "answer", rest, False
            return Parts(reasoning=thought.rstrip())
        ready = text[: len(text) - held_back(text, [CLOSE])].rstrip()
        self._pending = text[len(ready) :]
        self._begun = self._begun or bool(ready)
        return Parts(reasoning=ready)

    def _answer(self) -> Parts:
        text = self._pending if self._begun else self._pending.lstrip("\n")
        self._begun = self._begun or bool(text)
        self._pending = ""
        return Parts(answer=text)


def split_reasoning(text: str, thinking: bool = False) -> Parts:
    """A whole response in its parts."""
    splitter = ReasoningSplitter(thinking)
    return splitter.feed(text) + splitter.finish()
