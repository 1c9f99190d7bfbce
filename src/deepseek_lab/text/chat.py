"""A conversation as token ids: DeepSeek's chat format, or the template that came with a checkpoint.

What people write never becomes a control token, whatever the template does with it. Before a template is
rendered, the characters that control tokens begin with (`<`) are replaced in every message by characters of
the private-use plane that occur nowhere else; the names of control tokens that then stand in the rendered text
are the template's own. Only those become control tokens; everything else is encoded as plain text (`plain`), the
messages' own characters put back.

The tags of a thought stay in what the assistant said: by them templates leave out the thoughts of earlier turns, as
DeepSeek-R1's does.

Left out: tools and images.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deepseek_lab.text.plain import PlainText
from deepseek_lab.text.reasoning import CLOSE, OPEN, split_reasoning
from deepseek_lab.text.template_sandbox import TemplateError, TemplateSandbox
from deepseek_lab.text.tokenizer import Tokenizer
from deepseek_lab.text.turn_marks import ASSISTANT as ASSISTANT
from deepseek_lab.text.turn_marks import BEGIN_OF_TEXT as BEGIN_OF_TEXT
from deepseek_lab.text.turn_marks import ROLES, USER, family_template, marks_for

_PRIVATE_USE = range(0xF0000, 0xFFFFE)
ASSISTANT_ROLE = "assistant"
_TAGS = re.compile(f"({OPEN}|{CLOSE})")


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn; `name` is of who speaks, for templates that show it. Raises ValueError for a role that is none of
    `ROLES`."""

    role: str
    content: str
    reasoning: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"role must be one of {', '.join(ROLES)}, not {self.role!r}")

    @classmethod
    def of_response(cls, text: str, thinking: bool = False) -> "Message":
        """A model's whole response as a turn."""
        parts = split_reasoning(text, thinking)
        return cls(role="assistant", content=parts.answer, reasoning=parts.reasoning)


@dataclass(frozen=True)
class ChatPrompt:
    """A conversation up to the model's turn. opens_thought: that turn begins inside a thought."""

    ids: list[int]
    opens_thought: bool


class Chat:
    """A chat template and the tokenizer that its control tokens belong to.

    template: None takes the one that came with the tokenizer, or that of the family whose control tokens it has,
        DeepSeek's for want of another
    """

    def __init__(
        self, tokenizer: Tokenizer, template: str | None = None, sandbox: TemplateSandbox | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self._marks = marks_for(tokenizer.special_ids)
        given = template if template is not None else tokenizer.chat_template
        self.template = given if given is not None else family_template(tokenizer.special_ids)
        self._sandbox = sandbox or TemplateSandbox()
        self._plain = PlainText(tokenizer)
        self._opens_thought: dict[bool | None, bool] = {}
        self._first_letters = sorted({name[0] for name in tokenizer.special_ids})

    def prompt(self, messages: Sequence[Message], thinking: bool | None = None) -> ChatPrompt:
        """What the model goes on from with its turn.

        thinking: what the template is told of a thought, as `thinking` and `enable_thinking`; None tells it nothing.
        Whether the thought is open is seen in what it wrote. Raises TemplateError.
        """
        text, shown = self._rendered(messages, True, thinking)
        return ChatPrompt(self._encode_rendered(text, shown), text.rstrip().endswith(OPEN))

    def opens_thought(self, thinking: bool | None = None) -> bool:
        """Whether the model's turn behind a plain question begins inside a thought. Raises TemplateError."""
        if thinking not in self._opens_thought:
            question = Message(role="user", content="?")
            self._opens_thought[thinking] = self.prompt([question], thinking).opens_thought
        return self._opens_thought[thinking]

    def encode(
        self, messages: Sequence[Message], add_generation_prompt: bool = True, thinking: bool | None = None
    ) -> list[int]:
        """The conversation as ids; with `add_generation_prompt` the model's turn comes next.

        Raises TemplateError when the template fails or refuses the messages.
        """
        return self._encode_rendered(*self._rendered(messages, add_generation_prompt, thinking))

    def _rendered(
        self, messages: Sequence[Message], add_generation_prompt: bool, thinking: bool | None
    ) -> tuple[str, dict[int, str]]:
        """The template's text, and what stands for the characters of messages that it was not shown."""
        veil = self._veil([text for m in messages for text in (m.content, m.reasoning, m.name)])
        hidden = str.maketrans(veil)
        shown = str.maketrans({veiled: letter for letter, veiled in veil.items()})
        asked = {} if thinking is None else {"thinking": thinking, "enable_thinking": thinking}
        variables = {
            "messages": [_as_fields(message, hidden) for message in messages],
            "tools": None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
            **asked,
            **self._special_tokens(),
        }
        return self._sandbox.render(self.template, variables), shown

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a turn: the end of the text, of the turn, what the model's files name, or the other's turn."""
        ids = self.tokenizer.special_ids
        ends = [USER, *(self._marks.end.values() if self._marks else ())]
        return frozenset({*self.tokenizer.end_ids, *(ids[name] for name in ends if name in ids)})

    def encode_plain(self, text: str) -> list[int]:
        """Ids of `text` without any control token."""
        return self._plain.encode(text)

    def encode_tag(self, name: str) -> list[int]:
        """The tag of a thought: a control token where the tokenizer has it, its letters elsewhere."""
        return [self.tokenizer.special_ids[name]] if name in self.tokenizer.special_ids else self.encode_plain(name)

    def encode_prompt(self, text: str) -> list[int]:
        """The same behind what the model expects before every text."""
        return [*self.tokenizer.prefix_ids, *self.encode_plain(text)]

    def _special_tokens(self) -> dict[str, str]:
        """`bos_token` and the like, those that there are."""
        named = self.tokenizer.names.as_published().items()
        return {key: name for key, name in named if isinstance(name, str) and name in self.tokenizer.special_ids}

    def _veil(self, texts: Iterable[str]) -> dict[str, str]:
        """For each character that a control token begins with one that no text and not the template holds."""
        taken = set(self.template).union(*texts)
        free = (chr(code) for code in _PRIVATE_USE if chr(code) not in taken)
        veil = dict(zip(self._first_letters, free, strict=False))
        if len(veil) < len(self._first_letters):
            raise TemplateError("a message holds every character of the private-use plane")
        return veil

    def _encode_rendered(self, text: str, shown: dict[int, str]) -> list[int]:
        ids: list[int] = []
        end = 0
        for match in self._plain.control.finditer(text):
            ids += self.encode_plain(text[end : match.start()].translate(shown))
            ids.append(self.tokenizer.special_ids[match.group()])
            end = match.end()
        return ids + self.encode_plain(text[end:].translate(shown))


def _as_fields(message: Message, hidden: dict[int, str]) -> dict[str, str]:
    """A message as templates read it; a thought that there is under both names in use, placed as transformers does."""
    content = message.content.translate(hidden)
    if message.role == ASSISTANT_ROLE:
        parts = _TAGS.split(message.content)
        content = "".join(part if _TAGS.fullmatch(part) else part.translate(hidden) for part in parts)
    thought = message.reasoning.translate(hidden)
    turn = {"role": message.role, "content": content}
    turn |= {"name": message.name.translate(hidden)} if message.name else {}
    return {"thinking": thought, **turn, "reasoning_content": thought} if thought else turn
