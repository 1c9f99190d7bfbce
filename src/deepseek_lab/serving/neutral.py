"""Fields of requests that this server does not have, and their values that change nothing.

Clients send such fields at their defaults: those pass. Any other value would change the answer and is refused by
name. Beside OpenAI's fields stand those of vLLM, which arrive through a client's `extra_body`.
"""

from collections.abc import Callable, Mapping
from typing import Any

Neutral = Mapping[str, Callable[[Any], bool]]
"""Field -> whether a value of it changes nothing."""


class Wrong(ValueError):
    """A field whose value cannot be used; `name` is its name in the object that is being read."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(problem)
        self.name = name


def without_neutral(values: Any, neutral: Neutral) -> Any:
    """An object less the fields of `neutral`. Raises Wrong for one that would change the answer."""
    if not isinstance(values, dict):
        return values
    for name, changes_nothing in neutral.items():
        if name in values and not changes_nothing(values[name]):
            raise Wrong(name, "is not supported by this server with this value; leave the field out")
    return {name: value for name, value in values.items() if name not in neutral}


def nothing(value: Any) -> bool:
    """Null, and lists, objects and texts without content."""
    return value is None or value == [] or value == {} or value == ""


def _one_of(*values: Any) -> Callable[[Any], bool]:
    """Nothing, or one of these; `False` is not 0 here."""
    return lambda value: nothing(value) or any(type(value) is type(one) and value == one for one in values)


def _any(kind: type) -> Callable[[Any], bool]:
    """Nothing, or anything of this kind: what only names the request or concerns a cache."""
    return lambda value: nothing(value) or isinstance(value, kind)


def _no_bias(value: Any) -> bool:
    biases = list(value.values()) if isinstance(value, dict) else [1]
    return nothing(value) or all(type(bias) in (int, float) and bias == 0 for bias in biases)


def _expected_text(value: Any) -> bool:
    """OpenAI's predicted output makes an answer quicker, never another."""
    return nothing(value) or (isinstance(value, dict) and value.get("type") == "content")


def _null(value: Any) -> bool:
    return value is None


def _text_format(value: Any) -> bool:
    return nothing(value) or value == {"type": "text"}


_ZERO, _ONE, _FALSE, _TRUE = _one_of(0, 0.0), _one_of(1, 1.0), _one_of(False), _one_of(True)
_BOTH: Neutral = {
    "user": _any(str),
    "presence_penalty": _ZERO,
    "frequency_penalty": _ZERO,
    "logit_bias": _no_bias,
    "service_tier": _one_of("auto", "default"),
    "response_format": _text_format,
    "tools": nothing,
    "functions": nothing,
    "tool_choice": _one_of("none", "auto"),
    "function_call": _one_of("none", "auto"),
    "parallel_tool_calls": _any(bool),
    "audio": nothing,
    "modalities": lambda value: nothing(value) or value == ["text"],
    "moderation": nothing,
    "prediction": _expected_text,
    "web_search_options": _null,  # an empty object would search
    "verbosity": _one_of("medium"),
    "store": _FALSE,
    "metadata": _any(dict),
    "safety_identifier": _any(str),
    "prompt_cache_key": _any(str),
    "prompt_cache_retention": _any(str),
    "prompt_cache_options": _any(dict),
    "suffix": nothing,
    # of vLLM
    "ignore_eos": _FALSE,
    "min_tokens": _ZERO,
    "length_penalty": _ONE,
    "use_beam_search": _FALSE,
    "include_stop_str_in_output": _FALSE,
    "spaces_between_special_tokens": _TRUE,
    "stop_token_ids": nothing,
    "bad_words": nothing,
    "allowed_token_ids": nothing,
    "logits_processors": nothing,
    "prompt_logprobs": nothing,
    "truncate_prompt_tokens": nothing,
    "return_tokens_as_token_ids": _FALSE,
    "return_token_ids": _FALSE,
    "guided_json": nothing,
    "guided_regex": nothing,
    "guided_choice": nothing,
    "guided_grammar": nothing,
    "structured_outputs": nothing,
    "priority": _ZERO,
    "cache_salt": _any(str),
    "request_id": _any(str),
    "add_generation_prompt": _TRUE,
    "continue_final_message": _FALSE,
    "documents": nothing,
    "chat_template": nothing,
    "include_reasoning": _TRUE,
}
"""Of either kind of requests, whichever of the two has the field: clients set the same defaults for both."""
# Completions show the control tokens that a model writes, chats do not.
OF_CHATS: Neutral = {
    **_BOTH,
    "best_of": _ONE,
    "echo": _FALSE,
    "add_special_tokens": _FALSE,
    "skip_special_tokens": _TRUE,
}
OF_COMPLETIONS: Neutral = {**_BOTH, "add_special_tokens": _TRUE, "skip_special_tokens": _FALSE}
OF_MESSAGES: Neutral = {
    "refusal": nothing,
    "annotations": nothing,
    "audio": nothing,
    "function_call": nothing,
    "tool_calls": nothing,
    "tool_call_id": nothing,
    "reasoning": nothing,
    "thinking_blocks": nothing,
    "provider_specific_fields": nothing,
    "prefix": _FALSE,
}
"""What an answer's own `message.model_dump()` brings along, of OpenAI's client and of others."""
OF_PARTS: Neutral = {"prompt_cache_breakpoint": _any(dict), "cache_control": _any(dict), "annotations": nothing}
OF_STREAM_OPTIONS: Neutral = {"include_obfuscation": _FALSE, "continuous_usage_stats": _FALSE}
