"""`scripts/generate.py chat=true`: a conversation in the terminal, the thought dim and apart from the answer."""

import sys

from rich.console import Console

from deepseek_lab.config import ConfigError
from deepseek_lab.experiment.continuation import begun_by, request_of, response_text
from deepseek_lab.experiment.prompts import Prompt
from deepseek_lab.experiment.shown import GenerationError, Shown, require_healthy
from deepseek_lab.experiment.wish import Wish
from deepseek_lab.generation import Sampling
from deepseek_lab.serving.speaker import Speaker
from deepseek_lab.text.chat import Message
from deepseek_lab.text.reasoning import Parts
from deepseek_lab.text.template_sandbox import TemplateError

COMMANDS = "/new starts again, /exit or Ctrl-D ends, Ctrl-C stops an answer"


def converse(speaker: Speaker, wish: Wish, sampling: Sampling) -> None:
    """Reads a line, answers it, until the input ends."""
    console = Console(highlight=False, markup=False, soft_wrap=True, emoji=False)
    Console(stderr=True, markup=False, emoji=False).print(f"{speaker.name}: {COMMANDS}", style="dim", highlight=False)
    turns: list[Message] = []
    while (line := _line()) is not None and line != "/exit":
        if line == "/new":
            turns = []
        elif line:
            turns = _answered([*turns, Message(role="user", content=line)], speaker, wish, sampling, console)


def _line() -> str | None:
    """What the person typed; None at the end."""
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except (EOFError, KeyboardInterrupt):
        return None


def _answered(
    turns: list[Message], speaker: Speaker, wish: Wish, sampling: Sampling, console: Console
) -> list[Message]:
    """The conversation with the model's turn; without the last question when it could not be answered."""
    try:
        reply = _reply(turns, speaker, wish, sampling, console)
    except (ConfigError, TemplateError, GenerationError) as error:
        Console(stderr=True, markup=False, emoji=False).print(
            f"{error} (/new starts again)", style="red", highlight=False
        )
        return turns[:-1]
    return [*turns, Message(role="assistant", content=reply.answer, reasoning=reply.reasoning)]


def _reply(turns: list[Message], speaker: Speaker, wish: Wish, sampling: Sampling, console: Console) -> Parts:
    """The model's turn, shown while it is written; Ctrl-C keeps what has been said."""
    prompt = wish.as_conversation(Prompt(messages=tuple(turns)))
    begun = begun_by(prompt, speaker, wish)
    request = request_of(prompt, begun, speaker, wish, sampling)
    text, said, shown = response_text(speaker, wish, prompt, begun), Parts(), Shown(console)
    stream = speaker.engine.stream(request)
    try:
        for token in stream:
            require_healthy(token.finish_reason, token.error)
            parts = text.feed(token.id)
            said += parts
            shown.add(parts)
            if text.stopped:
                break
    except KeyboardInterrupt:
        console.out("\n(stopped)", end="")
    finally:
        getattr(stream, "close", lambda: None)()
    last = text.finish()
    shown.add(last)
    console.out("")
    return said + last
