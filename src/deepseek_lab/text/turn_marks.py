"""How two families write the turns of a conversation: DeepSeek's control tokens, and ChatML's (Qwen, SmolLM2).

A template renders text, which does not tell who said a token; training data are written turn by turn with these
marks. Each family's template here renders the same (tested).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from deepseek_lab.text.tokenizer import END_OF_TEXT, SPECIAL_TOKENS

ROLES = ("system", "user", "assistant")
BEGIN_OF_TEXT, USER, ASSISTANT = SPECIAL_TOKENS[0], "<｜User｜>", "<｜Assistant｜>"
_SAID = (
    "{% if loop.last and message.reasoning_content %}<think>\n{{ message.reasoning_content }}\n</think>\n\n{% endif %}"
    "{% if message.role == 'assistant' and not loop.last and '</think>' in message.content %}"
    "{{ message.content.split('</think>')[-1].lstrip('\n') }}"
    "{% else %}{{ message.content }}{% endif %}"
)
"""What a turn says: the thought of an earlier one is not said again, wherever it stands."""
DEEPSEEK_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}{{ message.content }}"
    "{% elif message.role == 'user' %}<｜User｜>{{ message.content }}"
    f"{{% else %}}<｜Assistant｜>{_SAID}{{{{ eos_token }}}}{{% endif %}}{{% endfor %}}"
    "{% if add_generation_prompt %}<｜Assistant｜>{% if thinking %}<think>\n{% endif %}{% endif %}"
)
"""The format of DeepSeek-V3 and R1; R1 opens the thought in the prompt (`thinking`)."""
CHATML_TEMPLATE = (
    f"{{% for message in messages %}}<|im_start|>{{{{ message.role }}}}\n{_SAID}<|im_end|>\n{{% endfor %}}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if thinking %}<think>\n{% endif %}{% endif %}"
)
"""ChatML without the system turn that some checkpoints put before every conversation."""


@dataclass(frozen=True)
class TurnMarks:
    """Names of control tokens around a turn; `label` is plain text between `before` and what is said.

    before, end: by role; `end` is part of what the assistant says
    after: plain text behind every turn
    """

    template: str
    begin: str | None
    before: Mapping[str, str]
    label: Mapping[str, str]
    end: Mapping[str, str]
    after: str

    @property
    def control(self) -> set[str]:
        """The control tokens that a tokenizer must have."""
        return {*self.before.values(), *self.end.values(), *([self.begin] if self.begin else [])}


DEEPSEEK = TurnMarks(
    template=DEEPSEEK_TEMPLATE,
    begin=BEGIN_OF_TEXT,
    before={"user": USER, "assistant": ASSISTANT},
    label={},
    end={"assistant": END_OF_TEXT},
    after="",
)
CHATML = TurnMarks(
    template=CHATML_TEMPLATE,
    begin=None,
    before=dict.fromkeys(ROLES, "<|im_start|>"),
    label={role: f"{role}\n" for role in ROLES},
    end=dict.fromkeys(ROLES, "<|im_end|>"),
    after="\n",
)


def marks_for(control_tokens: Collection[str]) -> TurnMarks | None:
    """The family whose control tokens are all there, DeepSeek's first; None for a tokenizer without either."""
    return next((marks for marks in (DEEPSEEK, CHATML) if marks.control <= set(control_tokens)), None)


def family_template(control_tokens: Collection[str]) -> str:
    """The template of the family; DeepSeek's for a tokenizer of neither."""
    marks = marks_for(control_tokens)
    return marks.template if marks else DEEPSEEK_TEMPLATE
