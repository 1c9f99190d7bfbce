"""Which added tokens of a published tokenizer are control tokens, whatever their flag `special` says.

DeepSeek's json leaves the flag off for the tokens of chat, thinking and fill-in-the-middle, so that plain text which
spells one would become one; here they are control tokens. Letters that a byte alphabet of an early tokenizer lacked
(`õ` in DeepSeek-Coder's) were added too and stay plain text.
"""

import json
from typing import Any


def is_control(name: str, special: bool) -> bool:
    """Whether an added token is written in brackets, as every known control token is, or flagged."""
    return special or (len(name) > 2 and name[0] + name[-1] in ("<>", "[]", "｜｜"))


def with_control_tokens_flagged(tokenizer_json: str) -> str:
    """The same tokenizer with the flag where it belongs. Raises ValueError, KeyError or TypeError for no tokenizer."""
    content: dict[str, Any] = json.loads(tokenizer_json)
    for token in content["added_tokens"]:
        if is_control(token["content"], token["special"]):
            token.update(special=True, normalized=False)
    return json.dumps(content)
