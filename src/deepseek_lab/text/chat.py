"""A conversation as token ids: DeepSeek's chat format, or the template that came with a checkpoint.

What people write never becomes a control token, whatever the template does with it. Before a template is
rendered, the characters that control tokens begin with (`<`) are replaced in every message by characters of
the private-use plane that occur nowhere else; the names of control tokens that then stand in the rendered text
are the template's own. Only those become control tokens; everything else is encoded as plain text (`plain`), the
messages' own characters put back.

Left out: tools and images. Thoughts of earlier turns are not shown to the model again, as DeepSeek-R1's
template has it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deepseek_lab.text.plain import PlainText
from deepseek_lab.text.reasoning import split_reasoning
from deepseek_lab.text.template_sandbox import TemplateError, TemplateSandbox
from deepseek_lab.text.tokenizer import Tokenizer
from deepseek_lab.text.turn_marks import ASSISTANT as ASSISTANT
from deepseek_lab.text.turn_marks import BEGIN_OF_TEXT as BEGIN_OF_TEXT
from deepseek_lab.text.turn_marks import DEEPSEEK_TEMPLATE, ROLES, USER, marks_for

_PRIVATE_USE = range(0xF0000, 0xFFFFE)


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn. Raises ValueError for a role that is none of `ROLES`."""

    role: str
    content: str
    reasoning: str = ""

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"role must be one of {', '.join(ROLES)}, not {self.role!r}")

    @classmethod
    def of_response(cls, text: str, thinking: bool = False) -> "Message":
        """A model's whole response as a turn."""
        parts = split_reasoning(text, thinking)
        return cls(role="assistant", content=parts.answer, reasoning=parts.reasoning)


class Chat:
    """A chat template and the tokenizer that its control tokens belong to.

    template: None takes that of the family whose control tokens the tokenizer has, DeepSeek's for want of another
    """

    def __init__(
        self, tokenizer: Tokenizer, template: str | None = None, sandbox: TemplateSandbox | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self._marks = marks_for(tokenizer.special_ids)
        self.template = template or (self._marks.template if self._marks else DEEPSEEK_TEMPLATE)
        self._sandbox = sandbox or TemplateSandbox()
        self._plain = PlainText(tokenizer)
        self._first_letters = sorted({name[0] for name in tokenizer.special_ids})

    def encode(
        self, messages: Sequence[Message], add_generation_prompt: bool = True, thinking: bool = False
    ) -> list[int]:
        """The conversation as ids; with `add_generation_prompt` the model's turn comes next.

        Raises TemplateError when the template fails or refuses the messages.
        """
        veil = self._veil([text for m in messages for text in (m.content, m.reasoning)])
        hidden = str.maketrans(veil)
        shown = str.maketrans({veiled: letter for letter, veiled in veil.items()})
        text = self._sandbox.render(
            self.template,
            {
                "messages": [_as_fields(message, hidden) for message in messages],
                "add_generation_prompt": add_generation_prompt,
                "thinking": thinking,
                "bos_token": self._named(self.tokenizer.names.begin),
                "eos_token": self._named(self.tokenizer.names.end),
            },
        )
        return self._encode_rendered(text, shown)

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a turn: the end of the text, of the turn, or the other's turn."""
        ids = self.tokenizer.special_ids
        ends = [USER, *(self._marks.end.values() if self._marks else ())]
        return frozenset({self.tokenizer.eos_id, *(ids[name] for name in ends if name in ids)})

    def encode_plain(self, text: str) -> list[int]:
        """Ids of `text` without any control token."""
        return self._plain.encode(text)

    def encode_prompt(self, text: str) -> list[int]:
        """The same behind what the model expects before every text."""
        return [*self.tokenizer.prefix_ids, *self.encode_plain(text)]

    def _named(self, name: str | None) -> str:
        return name if name is not None and name in self.tokenizer.special_ids else ""

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
    return {
        "role": message.role,
        "content": message.content.translate(hidden),
        "reasoning_content": message.reasoning.translate(hidden),
    }
