"""A response on the terminal while it is written.

What a model says may hold control characters, and a terminal obeys them (colours, titles, its clipboard): they
are shown as pictures of themselves.
"""

from rich.console import Console

from deepseek_lab.text.reasoning import Parts

_PICTURES = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
}


def visible(text: str) -> str:
    """`text` without control characters other than line breaks and tabs."""
    return text.translate(_PICTURES)


class GenerationError(RuntimeError):
    """A response that could not be finished, in one line."""


def require_healthy(finish_reason: str | None, error: str | None) -> None:
    """Raises GenerationError for a response that the engine gave up on."""
    if finish_reason == "error":
        raise GenerationError(error or "generation failed")


class Shown:
    """Writes a response to the terminal as it grows: the thought dim, then a blank line, then the answer."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._thought = False

    def add(self, parts: Parts) -> None:
        """The next piece. Where there are no colours a line says what the thought is."""
        if parts.reasoning:
            if not self._thought and not self._console.is_terminal:
                self._console.out("(thought)")
            self._thought = True
            self._console.out(self._safe(parts.reasoning), style="dim", end="")
        if parts.answer:
            if self._thought:
                self._console.out("\n" if self._console.is_terminal else "\n(answer)")
                self._thought = False
            self._console.out(self._safe(parts.answer), end="")
        self._console.file.flush()

    def _safe(self, text: str) -> str:
        """As it is for a file or a pipe; for a terminal without what would command it."""
        return visible(text) if self._console.is_terminal else text
