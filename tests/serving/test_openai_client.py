"""The server through OpenAI's own client."""

import pytest

from deepseek_lab.serving.questions import ChatQuestion, TextQuestion
from serving.test_questions import FIELDS, NEUTRAL

openai = pytest.importorskip("openai")
from openai.types import Completion, Model  # noqa: E402
from openai.types.chat import ChatCompletion, ChatCompletionChunk  # noqa: E402

USER = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none needed", max_retries=0)


def joined(stream):
    """-> content, reasoning, finish reason, usage of a stream of one choice."""
    content, reasoning, reason, usage = "", "", None, None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            content += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
            reason = choice.finish_reason or reason
    return content, reasoning, reason, usage


def test_models(client, server):
    assert [model.id for model in client.models.list()] == [server.name]
    assert client.models.retrieve(server.name).id == server.name
    with pytest.raises(openai.NotFoundError, match=f"did you mean '{server.name}'"):
        client.models.retrieve(server.name + "x")


@pytest.mark.parametrize("stream", [False, True])
def test_every_optional_field_at_a_neutral_value_passes_and_answers_are_of_the_clients_types(client, server, stream):
    """Through the client: every null, then every first value of the table; the same text as of a bare request."""
    kinds = {
        ChatQuestion: (client.chat.completions, ChatCompletionChunk if stream else ChatCompletion, {"messages": USER}),
        TextQuestion: (client.completions, Completion, {"prompt": "one"}),
    }
    for kind, (route, shape, needed) in kinds.items():
        ask = {"model": server.name, **needed, "max_tokens": 3, "seed": 0, "temperature": 1, "stream": stream}
        null = {name: None for name in NEUTRAL[kind] if name not in ask and name in FIELDS[kind]}
        first = {name: values[0] for name, values in NEUTRAL[kind].items() if values and name not in ask}
        said = []
        for fields in ({}, null, first):
            answer = route.create(**ask, **fields)
            answers = list(answer) if stream else [answer]
            for one in answers:
                shape.model_validate(as_typed(one), strict=True)
            said.append(text_of(answers))
        assert said[0] == said[1] == said[2]


def as_typed(answer):
    """The fields of an answer; a completion's chunk, whose type knows no response that goes on, as if it ended."""
    fields = answer.model_dump()
    if answer.object == "text_completion":
        fields["choices"] = [{**one, "finish_reason": one["finish_reason"] or "stop"} for one in fields["choices"]]
    return fields


def text_of(answers):
    """The text of a whole answer or of its chunks."""
    choices = [choice for one in answers for choice in one.choices]
    own = [getattr(choice, "delta", None) or getattr(choice, "message", None) for choice in choices]
    return "".join(
        choice.text if said is None else said.content or "" for choice, said in zip(choices, own, strict=True)
    )


def test_an_answer_is_appended_and_asked_on(client, server):
    """Whatever the client's dump of a message holds; log-probabilities have the shapes of its types."""
    ask = {"model": server.name, "max_tokens": 5, "logprobs": True, "top_logprobs": 2}
    first = client.chat.completions.create(messages=USER, **ask)
    ChatCompletion.model_validate(first.model_dump(), strict=True)
    history = [*USER, first.choices[0].message.model_dump(), *USER]
    assert client.chat.completions.create(messages=history, **ask).choices[0].message.content is not None
    text = client.completions.create(model=server.name, prompt="one", max_tokens=5, logprobs=2)
    Completion.model_validate(text.model_dump(), strict=True)
    Model.model_validate(client.models.retrieve(server.name).model_dump(), strict=True)


def test_a_model_of_the_hub_is_served_under_its_name(hub_server):
    """As it was typed, as a path of the API too; not under the commit that its folder is called by."""
    server, _ = hub_server
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none needed", max_retries=0)
    assert [model.id for model in client.models.list()] == [server.name] == ["some/talker"]
    assert client.models.retrieve("some/talker").id == "some/talker"
    assert server.ask("/v1/models/some/talker")[2] == server.ask("/v1/models/some%2Ftalker")[2]
    assert server.ask("/v1/models/")[2] == server.ask("/v1/models")[2]
    status, _, answer = server.ask("/v1/models/some/talkers")
    assert (status, answer["error"]["code"]) == (404, "model_not_found")
    answer = client.chat.completions.create(model="some/talker", messages=USER, max_tokens=2)
    assert answer.model == "some/talker"


def test_a_stream_says_what_the_whole_answer_says(client, server):
    ask = {"model": server.name, "messages": USER, "max_tokens": 40, "seed": 3, "temperature": 1}
    whole = client.chat.completions.create(**ask)
    stream = client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
    content, _, reason, usage = joined(stream)
    assert whole.choices[0].message.content == content
    assert whole.choices[0].finish_reason == reason
    assert whole.usage == usage
    assert 0 < usage.completion_tokens <= 40
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    other = client.chat.completions.create(**{**ask, "seed": 4})
    assert other.choices[0].message.content != content


def test_several_answers(client, server):
    ask = {"model": server.name, "max_tokens": 12, "seed": 1}
    answer = client.chat.completions.create(messages=USER, n=3, **ask)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 3
    texts = client.completions.create(prompt=["one", "two"], n=2, **ask)
    assert [choice.index for choice in texts.choices] == [0, 1, 2, 3]
    assert texts.usage.prompt_tokens == 6
    ids = client.completions.create(prompt=list(b"one"), **ask)
    assert ids.choices[0].text == client.completions.create(prompt="one", **ask).choices[0].text
    chunks = client.completions.create(prompt=["one", "two"], n=2, stream=True, **ask)
    streamed = ["", "", "", ""]
    for chunk in chunks:
        for choice in chunk.choices:
            streamed[choice.index] += choice.text
    assert streamed == [choice.text for choice in texts.choices]


def test_stop_strings_end_an_answer_before_them(client, server):
    ask = {"model": server.name, "prompt": "one", "max_tokens": 60, "seed": 5}
    full = client.completions.create(**ask).choices[0].text
    stop = full[10:13]
    cut = client.completions.create(**ask, stop=["never ever", stop])
    assert cut.choices[0].text == full[: full.index(stop)]
    assert cut.choices[0].finish_reason == "stop"
    assert cut.usage.completion_tokens < 60
    stream = client.completions.create(**ask, stop=stop, stream=True)
    assert "".join(choice.text for chunk in stream for choice in chunk.choices) == cut.choices[0].text


def test_a_thought_comes_apart(client, server):
    ask = {"model": server.name, "messages": USER, "max_tokens": 30, "seed": 2}
    thinking = {"chat_template_kwargs": {"thinking": True}}
    answer = client.chat.completions.create(**ask, extra_body=thinking)
    message = answer.choices[0].message
    assert message.reasoning_content
    assert answer.usage.completion_tokens_details.reasoning_tokens > 0
    content, reasoning, _, _ = joined(client.chat.completions.create(**ask, extra_body=thinking, stream=True))
    assert (content, reasoning) == (message.content, message.reasoning_content)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"temperature": -1}, "temperature"),
        ({"max_tokens": 100_000}, "max_tokens must be at most 200"),
        ({"messages": [{"role": "user", "content": "x" * 300}]}, "exceed the model's context of 256"),
        ({"messages": USER * 6}, "messages must be at most 5"),
        ({"messages": []}, "messages"),
        ({"n": 9}, "n must be at most 8"),
        ({"stop": ["a"] * 5}, "stop must hold at most 4 texts"),
        ({"stop": [""]}, "stop must be texts of 1 to 200 characters"),
        ({"stop": "a" * 201}, "stop must be texts of 1 to 200 characters"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools is not supported by this server"),
        ({"top_logprobs": 2}, "top_logprobs needs logprobs=true"),
        ({"frequency_penalty": 1.0}, "frequency_penalty"),
        ({"extra_body": {"temprature": 1}}, "did you mean 'temperature'"),
    ],
)
def test_what_cannot_be_done_is_said(client, server, change, says):
    with pytest.raises(openai.BadRequestError, match=says):
        client.chat.completions.create(**{"model": server.name, "messages": USER, "max_tokens": 2, **change})
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt", messages=USER)
