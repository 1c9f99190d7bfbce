"""Loss on any text: every token counted once, equal to a plain sum of log-probabilities."""

import dataclasses
import math

import pytest
import torch

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.experiment.text_loss import TextTest, text_loss, windows
from talking_run import TOKENIZER
from tiny_run import tiny_config


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return dataclasses.replace(tiny_config(), vocab_size=TOKENIZER.vocab_size, init_std=0.3).build().eval()


def test_windows_hold_every_target_once_with_the_token_before_it():
    rows = list(windows([1, 2, 3, 4, 5], 8, 9, 2))
    assert rows == [[8, 1, 2], [2, 3, 4], [4, 5, 9]]
    assert list(windows([], 8, 9, 4)) == [[8, 9]]


@torch.no_grad()
def test_it_is_the_sum_of_the_log_probabilities(model):
    texts, eos = ["naïve text", "b", "longer than the others by far"], TOKENIZER.eos_id
    nats = 0.0
    for text in texts:
        row = torch.tensor([[eos, *TOKENIZER.encode(text), eos]])
        logp = model(row[:, :-1]).logits.double().log_softmax(-1)
        nats -= float(logp.gather(-1, row[:, 1:, None]).sum())
    n_bytes = sum(len(text.encode()) for text in texts)
    found = text_loss(model, TOKENIZER, texts, context=64)
    assert found["bytes"] == n_bytes
    assert found["tokens"] == n_bytes + len(texts)
    assert found["loss"] == pytest.approx(nats / found["tokens"], rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / n_bytes, rel=1e-5)
    assert text_loss(model, TOKENIZER, texts, context=3)["tokens"] == found["tokens"]


def test_no_text_is_named(model):
    with pytest.raises(DataError, match="holds no byte"):
        text_loss(model, TOKENIZER, [], context=8)


@pytest.mark.parametrize(("field", "value"), [("context", 1), ("documents", 0), ("unit", "page"), ("path", 3)])
def test_bad_values(field, value):
    good = {"path": "a", "column": "text", "unit": "line", "context": None, "documents": None}
    with pytest.raises(ConfigError):
        TextTest(**{**good, field: value})
