"""Which tokens a response tells of, and what a question asks of the engine."""

from types import SimpleNamespace

import pytest

from deepseek_lab.generation import Sampling, Token, TokenLogprobs
from deepseek_lab.serving.answers import Choice, prepare
from deepseek_lab.serving.limits import Limits
from deepseek_lab.serving.questions import ChatQuestion
from deepseek_lab.text.response import ResponseText
from talking_run import TOKENIZER


class Scripted:
    """Tokens as an engine tells them."""

    def __init__(self, text, end="length"):
        self.ids = list(text.encode())
        self.end = end

    def feed(self, choice):
        """-> the text and the tokens of all pieces."""
        pieces = []
        for index, token in enumerate(self.ids):
            reason = self.end if index == len(self.ids) - 1 else None
            own = TokenLogprobs(logprob=-float(index))
            pieces.append(
                choice.feed(
                    Token(handle=0, sample=0, index=index, id=token, logprob=0.0, own=own, finish_reason=reason)
                )
            )
        return ["".join(piece.parts.answer for piece in pieces), [one for piece in pieces for one in piece.tokens]]


@pytest.mark.parametrize(
    ("said", "stops", "end", "text", "n_tokens"),
    [
        ("abcdef", ["de"], "length", "abc", 3),
        ("abcdef", ["dx"], "length", "abcdef", 6),
        ("abcd", ["de"], "length", "abcd", 4),
        ("abcd", [], "stop", "abcd", 3),  # the last token ends the turn: it is no part of the text
        ("a€b", ["b"], "length", "a€", 4),
        ("a€", ["€"], "length", "a", 1),
    ],
)
def test_tokens_are_those_of_the_text(said, stops, end, text, n_tokens):
    """None of a stop string, none of the end; a character's bytes come with it."""
    choice = Choice(0, ResponseText(TOKENIZER, stops, split=False))
    found, tokens = Scripted(said, end).feed(choice)
    assert (found, len(tokens)) == (text, n_tokens)
    assert [token.id for token in tokens] == list(said.encode())[:n_tokens]


def test_the_end_is_told_of_in_completions():
    choice = Choice(0, ResponseText(TOKENIZER, split=False), tells_end=True)
    _, tokens = Scripted("abcd", "stop").feed(choice)
    assert [token.id for token in tokens] == list(b"abcd")


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, Sampling(temperature=0.5, top_k=3, min_p=0.1)),
        ({"top_k": None, "temperature": None, "min_p": None}, Sampling(temperature=0.5, top_k=3, min_p=0.1)),
        ({"top_k": -1}, Sampling(temperature=0.5, min_p=0.1)),
        ({"top_k": 0}, Sampling(temperature=0.5, min_p=0.1)),
        ({"temperature": 0, "min_p": 0}, Sampling(temperature=0.0, top_k=3)),
    ],
    ids=str,
)
def test_a_value_that_is_zero_is_a_value_and_null_is_the_servers_default(fields, wanted):
    question = ChatQuestion(model="m", messages=[{"role": "user", "content": "hi"}], **fields)
    speaker = SimpleNamespace(tokenizer=TOKENIZER, stop_ids=frozenset(), room=lambda prompt: 100, max_seq_len=100)
    default = Sampling(temperature=0.5, top_k=3, min_p=0.1)
    answer = prepare(question, [[1]], speaker, Limits(), default, split=True)
    assert answer.requests[0].sampling == wanted
    assert (answer.requests[0].n, answer.requests[0].top_logprobs) == (1, None)
