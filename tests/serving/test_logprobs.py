"""Log-probabilities through OpenAI's client equal those of a forward over the text, streamed and not."""

import random
from types import SimpleNamespace

import pytest
import torch
import transformers

from deepseek_lab.experiment.finished import find_run
from deepseek_lab.serving.logprobs import SaidToken, TokenNames, echo_of
from deepseek_lab.text.chat import Chat, Message
from talking_run import TOKENIZER

openai = pytest.importorskip("openai")

USER = [{"role": "user", "content": "hi"}]
NAMES = TokenNames(TOKENIZER)
IDS = {NAMES.spelled(token)[0]: token for token in range(TOKENIZER.vocab_size)}


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none needed", max_retries=0)


@pytest.fixture(scope="module")
def model(talker):
    return find_run(str(talker)).model(torch.device("cpu"))


@torch.no_grad()
def forward(model, ids):
    """(T, V): of what comes after each token."""
    return model(torch.tensor([ids])).logits[0].float().log_softmax(-1)


def test_every_token_has_a_text_of_its_own():
    assert len(IDS) == TOKENIZER.vocab_size
    assert NAMES.spelled(ord("a")) == ("a", [97])
    assert NAMES.spelled(0xE2) == ("bytes:\\xe2", [0xE2])
    assert NAMES.spelled(TOKENIZER.eos_id) == ("<｜end▁of▁sentence｜>", list("<｜end▁of▁sentence｜>".encode()))
    assert NAMES.spelled(10_000) == ("token_id:10000", None)


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 0.7, "extra_body": {"top_k": 5}}], ids=str)
def test_of_a_chat(client, server, model, sampling):
    ask = {"model": server.name, "messages": USER, "max_tokens": 30, "seed": 3, "logprobs": True, "top_logprobs": 4}
    choice = client.chat.completions.create(**ask, **sampling).choices[0]
    said = choice.logprobs.content
    prompt = Chat(TOKENIZER).encode([Message(role="user", content="hi")])
    ids = [IDS[token.token] for token in said]
    logp_TV = forward(model, prompt + ids)
    assert len(ids) >= 10
    for place, token in enumerate(said, len(prompt) - 1):
        assert token.logprob == pytest.approx(float(logp_TV[place, IDS[token.token]]), abs=1e-4)
        values, likeliest = logp_TV[place].topk(4)
        assert [top.logprob for top in token.top_logprobs] == pytest.approx(values.tolist(), abs=1e-4)
        assert [IDS[top.token] for top in token.top_logprobs] == likeliest.tolist()
    silent = TOKENIZER.special_ids.keys() - {"<think>", "</think>"}
    spelled = bytes(byte for token in said if token.token not in silent for byte in token.bytes)
    assert spelled.decode(errors="replace") == choice.message.content
    streamed = [
        token
        for chunk in client.chat.completions.create(**ask, **sampling, stream=True)
        if chunk.choices[0].logprobs
        for token in chunk.choices[0].logprobs.content
    ]
    assert [token.model_dump() for token in streamed] == [token.model_dump() for token in said]


def test_nothing_is_told_unasked_and_no_likeliest_where_none_are_asked_for(client, server):
    ask = {"model": server.name, "messages": USER, "max_tokens": 3}
    assert client.chat.completions.create(**ask, logprobs=False).choices[0].logprobs is None
    assert all(not token.top_logprobs for token in _content(client.chat.completions.create(**ask, logprobs=True)))
    text = client.completions.create(model=server.name, prompt="one", max_tokens=3, logprobs=0, seed=1).choices[0]
    own = list(zip(text.logprobs.tokens, text.logprobs.token_logprobs, strict=True))
    assert [list(top.items()) for top in text.logprobs.top_logprobs] == [[pair] for pair in own]
    assert client.completions.create(model=server.name, prompt="one", max_tokens=3).choices[0].logprobs is None


def _content(answer):
    return answer.choices[0].logprobs.content


def test_of_completions_and_their_echoed_prompts(client, server, model):
    prompts = [list(b"one"), [TOKENIZER.eos_id, 0xE2, 0x82, 0xAC, ord("x")]]
    ask = {"model": server.name, "prompt": prompts, "max_tokens": 12, "seed": 5, "logprobs": 2, "n": 2}
    plain, echoed = client.completions.create(**ask), client.completions.create(**ask, echo=True)
    for number, (choice, echo) in enumerate(zip(plain.choices, echoed.choices, strict=True)):
        prompt, own = prompts[number // 2], echo.logprobs
        shown = TOKENIZER.decode(prompt)
        assert echo.text == shown + choice.text
        ids = [IDS[token] for token in own.tokens]
        assert ids[: len(prompt)] == prompt
        assert own.tokens[len(prompt) :] == choice.logprobs.tokens
        logp_TV = forward(model, ids)
        assert (own.token_logprobs[0], own.top_logprobs[0]) == (None, None)
        for place in range(1, len(ids)):
            assert own.token_logprobs[place] == pytest.approx(float(logp_TV[place - 1, ids[place]]), abs=1e-4)
            wanted = {*logp_TV[place - 1].topk(2).indices.tolist(), ids[place]}
            assert {IDS[token] for token in own.top_logprobs[place]} == wanted
        assert own.text_offset[len(prompt) :] == [len(shown) + start for start in choice.logprobs.text_offset]
        for token, start in zip(own.tokens, own.text_offset, strict=True):
            rest = echo.text[start:].lstrip("\ufffd")
            assert token.startswith("bytes:") or token in TOKENIZER.special_ids or rest.startswith(token)


def test_a_prompt_alone_is_measured(client, server, model):
    """As evaluation harnesses ask: no new token, only how likely the prompt is."""
    ask = {"model": server.name, "prompt": list(b"one two"), "max_tokens": 0, "echo": True, "logprobs": 1}
    answer = client.completions.create(**ask)
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason, answer.usage.completion_tokens) == ("one two", "length", 0)
    logp_TV = forward(model, list(b"one two"))
    wanted = [float(logp_TV[place, byte]) for place, byte in enumerate(b"ne two")]
    assert choice.logprobs.token_logprobs[1:] == pytest.approx(wanted, abs=1e-4)
    (streamed,) = [chunk for chunk in client.completions.create(**ask, stream=True) if chunk.choices[0].text]
    assert streamed.choices[0].logprobs == choice.logprobs
    assert client.completions.create(**{**ask, "prompt": "one two"}).choices[0].logprobs == choice.logprobs
    unscored = client.completions.create(model=server.name, prompt="one", max_tokens=2, echo=True)
    assert unscored.choices[0].text.startswith("one")
    assert unscored.choices[0].logprobs is None


def test_an_evaluation_harness_measures_what_transformers_computes(hub_server):
    """lm-eval's own request and reading of it, which counts on a new token behind the prompt, be it the end."""
    harness = pytest.importorskip("lm_eval.models.openai_completions").LocalCompletionsAPI
    server, folder = hub_server
    judge = transformers.AutoModelForCausalLM.from_pretrained(folder)
    source = random.Random(3)
    prompts = [[source.randrange(1, 256) for _ in range(source.randrange(2, 40))] for _ in range(12)]
    n_before = [source.randrange(1, len(prompt)) for prompt in prompts]
    payload = harness._create_payload(SimpleNamespace(model=server.name), prompts, generate=False, seed=1)
    found = harness.parse_logprobs(server.ask("/v1/completions", payload)[2], tokens=prompts, ctxlens=n_before)
    for prompt, n, (logprob, is_greedy) in zip(prompts, n_before, found, strict=True):
        with torch.no_grad():
            logp_TV = judge(torch.tensor([prompt])).logits[0].float().log_softmax(-1)[n - 1 : -1]
        wanted = sum(float(logp_TV[place, token]) for place, token in enumerate(prompt[n:]))
        assert logprob == pytest.approx(wanted, abs=1e-3)
        assert is_greedy == (logp_TV.argmax(-1).tolist() == prompt[n:])


def test_an_echo_keeps_where_its_tokens_begin():
    echo = echo_of(TOKENIZER, [TOKENIZER.eos_id, *"a€b".encode()], TOKENIZER.special_ids)
    end = len("<｜end▁of▁sentence｜>")
    assert (echo.text[end:], list(echo.starts)) == ("a€b", [0, end, end + 1, end + 1, end + 1, end + 2])
    assert echo.tokens(()) == ()
    assert echo_of(TOKENIZER, [5], ()).tokens(()) == (SaidToken(5, 0, None),)
