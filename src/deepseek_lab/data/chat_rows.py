"""Rows of conversations, pairs and prompts in the forms that people keep them in, as turns.

    {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}    OpenAI's and TRL's
    {"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}        ShareGPT's
    {"prompt": …, "completion": …}     {"instruction": "…", "input": "…", "output": "…"}       Alpaca's
    {"prompt": …, "chosen": …, "rejected": …}     {"chosen": …, "rejected": …}

`…` is a text or a list of messages, a message's content a text or a list of parts of text. A dialogue in one text, as
Anthropic's hh-rlhf has it, is read as its turns. A pair of texts without a prompt shares its question: all words that
both begin with (TRL's implicit prompt).

Of a message also read are the thought (`reasoning_content`) and `weight`: what weighs 0 is read and not learnt. A
column `system` is the turn before the others; an answer with `label` false is not learnt.

Left out: tools, images and all that the chat formats of training cannot write. Such a row is refused, not read in part.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deepseek_lab.data.chat_columns import Columns, dialogue_in, is_empty
from deepseek_lab.data.conversation import Turn

READING = 3
"""Grows when the same rows are read in another way."""

DIALOGUES = ("messages", "conversations")
QUESTIONS = ("prompt", "question", "instruction")
ANSWERS = ("completion", "response", "output", "answer")
_BESIDE_INSTRUCTION = ("input", "context")
_LAST_WORD = re.compile(r"\S+$")


@dataclass(frozen=True)
class Pair:
    """Two whole conversations that differ in their last answer; notes: as those of `conversation_of`."""

    chosen: tuple[Turn, ...]
    rejected: tuple[Turn, ...]
    notes: tuple[str, ...] = ()


def conversation_of(row: Mapping[str, Any], where: str) -> tuple[tuple[Turn, ...], tuple[str, ...]]:
    """The turns of one row, and notes: what of it is not read, and what is read in a way that needs saying.

    Raises DataError, naming the place, for a row that is no conversation with an answer.
    """
    columns = Columns(row, where)
    name = columns.one_of(DIALOGUES)
    turns = _with_system(columns, _answered(columns) if name is None else columns.messages(name))
    if turns[-1].role != "assistant":
        raise columns.error("the conversation ends without an answer of the assistant")
    _require_question(turns, columns)
    if name is not None:
        _agree(columns, turns)
    label = columns.take("label")
    if label is not None:
        if not isinstance(label, bool):
            raise columns.error(f"'label' must be true or false, not {label!r}")
        turns = turns if label else tuple(replace(turn, trained=False) for turn in turns)
    columns.note_thoughts(turns)
    return turns, columns.notes


def pair_of(row: Mapping[str, Any], where: str) -> Pair:
    """One row of preference data. Raises DataError, naming the place, for what is none."""
    columns = Columns(row, where)
    missing = [name for name in ("chosen", "rejected") if name not in columns.held]
    if missing:
        raise columns.error(f"has no '{missing[0]}': a pair needs 'prompt', 'chosen' and 'rejected'{_other(columns)}")
    chosen, rejected = (_with_system(columns, side) for side in _sides(columns))
    if _plain(chosen[:-1]) != _plain(rejected[:-1]) or {chosen[-1].role, rejected[-1].role} != {"assistant"}:
        raise columns.error("chosen and rejected must differ in the assistant's last answer alone")
    _require_question(chosen, columns)
    if _plain(chosen) == _plain(rejected):
        raise columns.error("chosen and rejected are the same")
    if not (chosen[-1].trained and rejected[-1].trained):
        raise columns.error("an answer of weight 0 cannot be compared")
    columns.note_thoughts(chosen)
    asked = _unlearnt(chosen[:-1])
    return Pair((*asked, chosen[-1]), (*asked, rejected[-1]), columns.notes)


def prompt_of(row: Mapping[str, Any], where: str) -> tuple[str | tuple[Turn, ...], tuple[str, ...]]:
    """A text to continue or the turns of a conversation, and notes. Raises DataError."""
    columns = Columns(row, where)
    there = [name for name in (*DIALOGUES, *QUESTIONS) if name in columns.held]
    if len(there) != 1:
        raise columns.error('needs "prompt" or "messages", and not both')
    name, value = there[0], columns.held[there[0]]
    if isinstance(value, str) and name not in DIALOGUES:
        text = _question_text(columns, name)
        if not text:
            raise columns.error(f'"{name}" must be a text of at least one character')
        turns = _with_system(columns, (Turn("user", text),))
        return (text if len(turns) == 1 else turns), columns.notes
    turns = columns.messages(name) if name in DIALOGUES else columns.turns(name, "user")
    return _with_system(columns, turns), columns.notes


def counted(notes: Mapping[str, int]) -> str:
    """Notes with how often each was made, in one line."""
    return "; ".join(f"{note} ({count:,})" for note, count in notes.items() if count)


def _answered(columns: Columns) -> tuple[Turn, ...]:
    """A question's turns and an answer's, of which the latter are learnt."""
    question, answer = columns.one_of(QUESTIONS), columns.one_of(ANSWERS)
    if question is None or answer is None:
        lacks = "has neither a list 'messages' nor the texts 'prompt' and 'completion'"
        raise columns.error(lacks + _other(columns))
    return _joined(_question(columns, question), columns.turns(answer, "assistant"), columns, answer)


def _question(columns: Columns, name: str) -> tuple[Turn, ...]:
    value = columns.held[name]
    if not isinstance(value, str):
        return columns.turns(name, "user")
    text = _question_text(columns, name)
    return dialogue_in(text) or (Turn("user", text),)


def _question_text(columns: Columns, name: str) -> str:
    """The text of a question; an instruction with its input behind it, in a line of its own."""
    text: str = columns.take(name)
    beside = columns.one_of(_BESIDE_INSTRUCTION) if name == "instruction" else None
    if beside is None:
        return text
    more = columns.take(beside)
    if not isinstance(more, str):
        raise columns.error(f"'{beside}' must be a text")
    return "\n".join(part for part in (text, more) if part)


def _sides(columns: Columns) -> tuple[tuple[Turn, ...], tuple[Turn, ...]]:
    """Chosen and rejected with their question."""
    name = columns.one_of(QUESTIONS)
    question = _asked_in_dialogue(columns) if name is None else _question(columns, name)
    texts = columns.held["chosen"], columns.held["rejected"]
    if not question and all(isinstance(text, str) and not dialogue_in(text) for text in texts):
        columns.read |= {"chosen", "rejected"}
        return _implicit(columns, *texts)
    chosen, rejected = (
        _joined(question, columns.turns(side, "assistant"), columns, side) for side in ("chosen", "rejected")
    )
    return chosen, rejected


def _asked_in_dialogue(columns: Columns) -> tuple[Turn, ...]:
    """The question that a column of messages holds, where there is one without an answer."""
    name = columns.one_of(DIALOGUES)
    if name is None:
        return ()
    turns = columns.messages(name)
    if turns[-1].role == "user":
        return turns
    columns.read.discard(name)
    return ()


def _implicit(columns: Columns, chosen: str, rejected: str) -> tuple[tuple[Turn, ...], tuple[Turn, ...]]:
    """Two texts that begin with the same words: these are the question."""
    if chosen == rejected:
        raise columns.error("chosen and rejected are the same")
    unlike = (place for place, (one, other) in enumerate(zip(chosen, rejected, strict=False)) if one != other)
    shared = chosen[: next(unlike, min(len(chosen), len(rejected)))]
    apart = shared[-1:].isspace() or all(not text[len(shared) :][:1].strip() for text in (chosen, rejected))
    words = (shared if apart else _LAST_WORD.sub("", shared)).rstrip()
    if not words:
        raise columns.error("an answer without a question: a pair needs 'prompt' beside 'chosen' and 'rejected'")
    columns.said["no 'prompt': the words that both texts begin with are the question"] = None
    first, second = ((Turn("user", words), Turn("assistant", text[len(words) :])) for text in (chosen, rejected))
    return first, second


def _joined(question: tuple[Turn, ...], answer: tuple[Turn, ...], columns: Columns, name: str) -> tuple[Turn, ...]:
    """Question and answer; an answer that begins with the question, too, has it once."""
    opened = bool(question) and question[-1].role == "assistant" and not question[-1].content.strip()
    question = question[:-1] if opened else question  # a dialogue may end where the assistant is to speak
    (system, told), (own_system, own) = _system_apart(question), _system_apart(answer)
    if len(own) > len(told) and _plain(own[: len(told)]) == _plain(told):
        if system and own_system and system != own_system:
            raise columns.error(f"the prompt and '{name}' begin with different system messages")
        return (*(system or own_system), *(_unlearnt(told) if told else ()), *own[len(told) :])
    if answer[0].role != "assistant":
        raise columns.error(f"'{name}' begins with another question than the prompt")
    if question[-1].role == "assistant":
        raise columns.error("the prompt ends with an answer of the assistant")
    if opened:
        answer = (replace(answer[0], content=answer[0].content.removeprefix(" ")), *answer[1:])
    return (*_unlearnt(question), *answer)


def _system_apart(turns: tuple[Turn, ...]) -> tuple[tuple[Turn, ...], tuple[Turn, ...]]:
    """A system message at the head, and the rest."""
    n = int(bool(turns) and turns[0].role == "system")
    return turns[:n], turns[n:]


def _with_system(columns: Columns, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The turns behind what a column `system` says."""
    system = columns.take("system")
    if system is None or system == "":
        return turns
    if not isinstance(system, str):
        raise columns.error("'system' must be a text")
    if turns[0].role == "system":
        if turns[0].content != system:
            raise columns.error("the column 'system' and the first message say different things")
        return turns
    return (Turn("system", system), *turns)


def _agree(columns: Columns, turns: tuple[Turn, ...]) -> None:
    """A prompt beside messages counts as read where the messages begin with it."""
    if is_empty(columns.held.get("prompt")):
        return
    told, own = (_plain(_system_apart(some)[1]) for some in (columns.turns("prompt", "user"), turns))
    if own[: len(told)] != told:
        columns.read.discard("prompt")


def _require_question(turns: Sequence[Turn], columns: Columns) -> None:
    if not any(turn.role == "user" and turn.content.strip() for turn in turns):
        raise columns.error("an answer without a question: no turn of the user holds any text")


def _other(columns: Columns) -> str:
    """What a row is instead, and what reads it."""
    held = columns.held
    if {"chosen", "rejected"} <= held.keys():
        return " (a pair is read by data=preferences)"
    if "label" in held:
        return " (an answer with a label is no pair)"
    if "text" in held:
        return " (plain text is read by data=text_files)"
    if any(name in held for name in (*DIALOGUES, *ANSWERS)):
        return " (conversations are read by data=instructions)"
    return " (a question without an answer)" if any(name in held for name in QUESTIONS) else ""


def _plain(turns: Sequence[Turn]) -> list[tuple[str, str, str]]:
    """What is said, whether or not it is learnt."""
    return [(turn.role, turn.content, turn.reasoning) for turn in turns]


def _unlearnt(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    return tuple(replace(turn, trained=False) if turn.role == "assistant" else turn for turn in turns)
