"""Every field of the request types of OpenAI's own client has a decision: used, neutral at some values, or refused."""

import json
import types
import typing

import pytest

from deepseek_lab.serving.questions import ChatQuestion, TextQuestion, Turn, read_question
from deepseek_lab.serving.refusals import Refusal

openai = pytest.importorskip("openai")
from openai.types import completion_create_params as text_params  # noqa: E402
from openai.types.chat import (  # noqa: E402
    ChatCompletionAssistantMessageParam,
    ChatCompletionContentPartTextParam,
    ChatCompletionDeveloperMessageParam,
    ChatCompletionMessage,
    ChatCompletionStreamOptionsParam,
    ChatCompletionSystemMessageParam,
    ChatCompletionUserMessageParam,
)
from openai.types.chat import completion_create_params as chat_params  # noqa: E402

USER = {"role": "user", "content": "hi"}
NEEDED = {
    ChatQuestion: {"model": "m", "messages": [USER]},
    TextQuestion: {"model": "m", "prompt": "hi"},
}
SHARED = {
    "frequency_penalty": [0, 0.0],
    "logit_bias": [{}, {"50256": 0}],
    "max_tokens": [3],
    "n": [1],
    "presence_penalty": [0, 0.0],
    "seed": [0],
    "stop": [[]],
    "stream": [False],
    "stream_options": [{"include_usage": False, "include_obfuscation": False}, {}],
    "temperature": [1, 0],
    "top_p": [1, 1.0],
    "user": ["", "somebody"],
}
NEUTRAL = {
    ChatQuestion: {
        **SHARED,
        "audio": [],
        "function_call": ["none", "auto"],
        "functions": [[]],
        "logprobs": [False],
        "max_completion_tokens": [3],
        "metadata": [{}, {"a": "b"}],
        "modalities": [["text"]],
        "moderation": [],
        "parallel_tool_calls": [True, False],
        "prediction": [{"type": "content", "content": "hi"}],
        "prompt_cache_key": ["k"],
        "prompt_cache_options": [{"mode": "implicit", "ttl": "30m"}, {}],
        "prompt_cache_retention": ["in_memory", "24h"],
        "reasoning_effort": ["none"],
        "response_format": [{"type": "text"}],
        "safety_identifier": ["s"],
        "service_tier": ["auto", "default"],
        "store": [False],
        "tool_choice": ["none", "auto"],
        "tools": [[]],
        "top_logprobs": [0],
        "verbosity": ["medium"],
        "web_search_options": [],
    },
    TextQuestion: {**SHARED, "best_of": [1], "echo": [False], "logprobs": [False], "suffix": [""]},
}
OF_MESSAGES = {
    "audio": [],
    "content": ["hi", [{"type": "text", "text": "hi"}], ""],
    "function_call": [],
    "name": [""],
    "refusal": [],
    "tool_calls": [[]],
}
OF_VLLM = {
    "top_k": [-1, 0],
    "min_p": [0],
    "repetition_penalty": [1, 1.0],
    "ignore_eos": [False],
    "min_tokens": [0],
    "stop_token_ids": [[]],
    "chat_template_kwargs": [{}, {"thinking": False}],
}


def fields_of(*kinds):
    """Name -> annotation of all fields of some typed dictionaries."""
    return {name: hint for kind in kinds for name, hint in typing.get_type_hints(kind).items()}


CHAT = fields_of(
    chat_params.CompletionCreateParamsBase,
    chat_params.CompletionCreateParamsNonStreaming,
    chat_params.CompletionCreateParamsStreaming,
)
TEXT = fields_of(
    text_params.CompletionCreateParamsBase,
    text_params.CompletionCreateParamsNonStreaming,
    text_params.CompletionCreateParamsStreaming,
)
FIELDS = {ChatQuestion: CHAT, TextQuestion: TEXT}
MESSAGES = {
    "system": ChatCompletionSystemMessageParam,
    "developer": ChatCompletionDeveloperMessageParam,
    "user": ChatCompletionUserMessageParam,
    "assistant": ChatCompletionAssistantMessageParam,
}


def may_be_null(hint):
    return typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in typing.get_args(hint)


def neutral_values(kind, name):
    """Those of the table; null for every optional field, as other clients write what is not set."""
    return [None, *NEUTRAL[kind][name]]


def read(kind, **fields):
    return read_question(kind, json.dumps({**NEEDED[kind], **fields}).encode())


def refused(kind, **fields):
    with pytest.raises(Refusal) as caught:
        read(kind, **fields)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize("kind", FIELDS)
def test_every_field_of_the_clients_types_has_a_decision(kind):
    """A new release of the client that brings a field fails here: say in `neutral` or `questions` what it means."""
    assert FIELDS[kind].keys() - NEEDED[kind].keys() == NEUTRAL[kind].keys()
    assert FIELDS[kind].keys() <= kind.model_fields.keys() | kind.NEUTRAL.keys()
    assert not kind.model_fields.keys() & kind.NEUTRAL.keys()


@pytest.mark.parametrize("role", MESSAGES)
def test_every_field_of_the_clients_messages_has_a_decision(role):
    names = fields_of(MESSAGES[role]).keys()
    assert names - {"role"} <= OF_MESSAGES.keys()
    assert names <= Turn.model_fields.keys() | Turn.NEUTRAL.keys()
    assert fields_of(ChatCompletionContentPartTextParam).keys() == {"type", "text", "prompt_cache_breakpoint"}
    assert fields_of(ChatCompletionStreamOptionsParam).keys() == {"include_usage", "include_obfuscation"}


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(kind, name, value) for kind in FIELDS for name in NEUTRAL[kind] for value in neutral_values(kind, name)]
    + [
        (kind, name, v)
        for kind in FIELDS
        for name in OF_VLLM
        for v in [None, *OF_VLLM[name]]
        if (kind is ChatQuestion or name != "chat_template_kwargs")
    ],
    ids=str,
)
def test_a_neutral_value_alone(kind, name, value):
    read(kind, **{name: value})


@pytest.mark.parametrize("kind", FIELDS)
def test_all_neutral_values_together_ask_what_nothing_asks(kind):
    """Every optional field null, and at each column of the table."""
    bare = read(kind)
    assert read(kind, **dict.fromkeys(NEUTRAL[kind])) == bare
    changed = {"max_tokens", "max_completion_tokens", "seed", "temperature", "top_p"}
    for column in range(2):
        fields = {name: values[min(column, len(values) - 1)] for name, values in NEUTRAL[kind].items() if values}
        question = read(kind, **fields)
        assert (question.length[1], question.seed) == (3, 0)
        assert (question.n_samples, question.n_logprobs, question.stop, question.echoes) == (1, None, [], False)
        same = {
            "n",
            "stop",
            "reasoning_effort",
            "stream",
            "stream_options",
            "logprobs",
            "top_logprobs",
            "best_of",
            "echo",
        } | changed
        assert question.model_dump(exclude=same) == bare.model_dump(exclude=same)


def test_neutral_values_of_the_other_kind_change_nothing_either():
    """Clients set one table of defaults for both."""
    for kind, other in ((ChatQuestion, TextQuestion), (TextQuestion, ChatQuestion)):
        strange = NEUTRAL[other].keys() - NEUTRAL[kind].keys() - {"logprobs"}
        used = strange & other.model_fields.keys() - {"best_of", "echo"}
        null = dict.fromkeys({*strange, *NEEDED[other]} - NEEDED[kind].keys())
        assert read(kind, **null) == read(kind)
        values = {name: NEUTRAL[other][name][0] for name in strange - used if NEUTRAL[other][name]}
        assert len(values) >= 3
        assert read(kind, **values) == read(kind)


@pytest.mark.parametrize("role", MESSAGES)
def test_messages_with_every_optional_field(role):
    fields = fields_of(MESSAGES[role])
    for name, hint in fields.items():
        values = [*OF_MESSAGES.get(name, []), *([None] if may_be_null(hint) else [])]
        for value in values:
            (turn,) = read(ChatQuestion, messages=[{"role": role, "content": "hi", name: value}]).messages
            assert turn.text == ("hi" if value else "" if name == "content" else "hi")


def test_an_answer_is_appended_as_it_is_dumped():
    said = ChatCompletionMessage(role="assistant", content="yes", reasoning_content="a thought")
    silent = ChatCompletionMessage(role="assistant", content=None)
    turns = read(ChatQuestion, messages=[USER, said.model_dump(), USER, silent.model_dump(), USER]).messages
    assert (turns[1].text, turns[1].reasoning_content, turns[3].text) == ("yes", "a thought", "")
    newer = {
        **said.model_dump(),
        "a_field_of_tomorrow": None,
        "content": [{"type": "text", "text": "yes", "new": None}],
    }
    assert read(ChatQuestion, messages=[newer], another_field=None).messages[0] == turns[1]
    refusal = refused(ChatQuestion, messages=[{**newer, "a_field_of_tomorrow": 0}])
    assert refusal.message == "messages[0].a_field_of_tomorrow is no field of this server"


THINK, THINKING = {"thinking": True}, "chat_template_kwargs.enable_thinking"
TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("kind", "fields", "param", "says"),
    [
        (ChatQuestion, {"tools": [TOOL]}, "tools", "tools is not supported"),
        (ChatQuestion, {"tool_choice": "required"}, "tool_choice", "not supported"),
        (ChatQuestion, {"functions": [{"name": "f"}]}, "functions", "not supported"),
        (ChatQuestion, {"response_format": {"type": "json_object"}}, "response_format", "not supported"),
        (ChatQuestion, {"web_search_options": {}}, "web_search_options", "not supported"),
        (ChatQuestion, {"modalities": ["text", "audio"]}, "modalities", "not supported"),
        (ChatQuestion, {"moderation": {"model": "m"}}, "moderation", "not supported"),
        (ChatQuestion, {"store": True}, "store", "not supported"),
        (ChatQuestion, {"reasoning_effort": "high"}, "reasoning_effort", "can only be 'none'"),
        (
            ChatQuestion,
            {"reasoning_effort": "none", "chat_template_kwargs": THINK},
            "reasoning_effort",
            "is 'none', but",
        ),
        (ChatQuestion, {"chat_template_kwargs": {**THINK, "enable_thinking": False}}, THINKING, "another thing than"),
        (ChatQuestion, {"chat_template_kwargs": {"thinkin": True}}, "chat_template_kwargs.thinkin", "mean 'thinking'"),
        (ChatQuestion, {"verbosity": "low"}, "verbosity", "not supported"),
        (ChatQuestion, {"service_tier": "flex"}, "service_tier", "not supported"),
        (ChatQuestion, {"logit_bias": {"5": 1}}, "logit_bias", "not supported"),
        (ChatQuestion, {"frequency_penalty": 0.1}, "frequency_penalty", "not supported"),
        (ChatQuestion, {"presence_penalty": False}, "presence_penalty", "not supported"),
        (ChatQuestion, {"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation", "not"),
        (ChatQuestion, {"top_logprobs": 2}, "top_logprobs", "needs logprobs=true"),
        (ChatQuestion, {"logprobs": True, "top_logprobs": 21}, "top_logprobs", "must be at most 20"),
        (ChatQuestion, {"logprobs": 1}, "logprobs", "must be true or false"),
        (ChatQuestion, {"max_tokens": 0}, "max_tokens", "must be at least 1"),
        (ChatQuestion, {"max_completion_tokens": 0}, "max_completion_tokens", "must be at least 1"),
        (ChatQuestion, {"max_completion_tokens": 3, "max_tokens": 4}, "max_tokens", "but max_completion_tokens 3"),
        (ChatQuestion, {"n": 0}, "n", "must be at least 1"),
        (ChatQuestion, {"top_k": -2}, "top_k", "must be at least 0"),
        (ChatQuestion, {"temperature": "hot"}, "temperature", "must be a number"),
        (ChatQuestion, {"seed": 2**70}, "seed", "must be below"),
        (ChatQuestion, {"stop": [1]}, "stop", "must be a text or a list of texts"),
        (ChatQuestion, {"stream_options": []}, "stream_options", "must be an object"),
        (ChatQuestion, {"messages": "hi"}, "messages", "must be a list"),
        (ChatQuestion, {"messages": []}, "messages", "must hold at least 1"),
        (ChatQuestion, {"messages": [3]}, "messages[0]", "must be an object"),
        (ChatQuestion, {"messages": [{"role": "user"}]}, "messages[0].content", "must be a text or a list of parts"),
        (ChatQuestion, {"messages": [{"role": "user", "content": None}]}, "messages[0].content", "must be a text"),
        (ChatQuestion, {"messages": [{"role": "user", "content": 3}]}, "messages[0].content", "must be a text"),
        (ChatQuestion, {"messages": [USER, {"role": "tool", "content": "x"}]}, "messages[1].role", "must be 'system'"),
        (ChatQuestion, {"messages": [{**USER, "tool_calls": [TOOL]}]}, "messages[0].tool_calls", "not supported"),
        (
            ChatQuestion,
            {"messages": [{**USER, "reasoning_contents": "x"}]},
            "messages[0].reasoning_contents",
            "did you",
        ),
        (
            ChatQuestion,
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0].content",
            "a part of type 'image_url'; this server reads texts only",
        ),
        (ChatQuestion, {"prompt": "hi"}, "prompt", "is no field of /v1/chat/completions, but of /v1/completions"),
        (ChatQuestion, {"temprature": 1}, "temprature", "did you mean 'temperature'"),
        (ChatQuestion, {"a\nb": 1}, "a\\nb", "is no field of this server"),
        (ChatQuestion, {"a\ud800": 1}, "the body", "has a field whose name holds half a surrogate pair"),
        (TextQuestion, {"messages": [USER]}, "messages", "but of /v1/chat/completions"),
        (TextQuestion, {"best_of": 2}, "best_of", "must be n=1"),
        (TextQuestion, {"suffix": "x"}, "suffix", "not supported"),
        (TextQuestion, {"logprobs": True}, "logprobs", "must be an integer"),
        (TextQuestion, {"logprobs": 21}, "logprobs", "must be at most 20"),
        (TextQuestion, {"max_tokens": 0}, "max_tokens", "or 0 with echo=true"),
        (TextQuestion, {"prompt": [1, "a"]}, "prompt", "must be a text, a list of token ids, or a list of either"),
        (TextQuestion, {"prompt": [True]}, "prompt", "must be a text"),
    ],
    ids=str,
)
def test_what_would_change_the_answer_is_refused_by_the_name_that_was_sent(kind, fields, param, says):
    refusal = refused(kind, **fields)
    assert refusal.param == param
    assert refusal.message.startswith(param)
    assert says in refusal.message
    assert not any(inner in refusal.message for inner in ("function-", "Input", "validation", "Value error", "\n"))


def test_no_suggestion_where_nothing_is_near():
    assert "did you mean" not in refused(ChatQuestion, extra=1).message


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body is empty"),
        (b"  \n", "the body is empty"),
        (b"{", "no JSON: Expecting property name"),
        (b"model=m&prompt=hi", "no JSON: Expecting value"),
        (b"[]", "no JSON object"),
        (b'"hi"', "no JSON object"),
        (b'{"model": "\xff\xfe"}', "not UTF-8"),
        (b'{"model": "m", "model": "n"}', "'model' stands there twice"),
        (b'{"temperature": NaN}', "NaN is no number"),
        (b"[" * 9000, "no JSON that a reader can hold"),
    ],
)
def test_a_body_that_is_none_is_told_in_a_readable_line(body, says):
    with pytest.raises(Refusal) as caught:
        read_question(ChatQuestion, body)
    assert says in caught.value.message
    assert "must be a JSON object" in caught.value.message
    assert caught.value.status == 400


def test_prompts_apart():
    assert read(TextQuestion, prompt="hi").prompt == ["hi"]
    assert read(TextQuestion, prompt=[1, 2]).prompt == [[1, 2]]
    assert read(TextQuestion, prompt=["a", "b"]).prompt == ["a", "b"]
    assert read(TextQuestion, prompt=[[1], [2]]).prompt == [[1], [2]]
    assert read(TextQuestion, prompt=None).prompt == [None]
    assert read(TextQuestion, n=2, best_of=2).n_samples == 2
