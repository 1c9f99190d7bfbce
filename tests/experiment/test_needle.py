"""The needle test: exact lengths, all tokens of an answer, and what is written beside the figures."""

import json
import random
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import one_hot

from deepseek_lab.config import ConfigError
from deepseek_lab.experiment import needle as subject
from deepseek_lab.experiment.needle import NeedleTest, accuracy, evaluate_needles, found
from deepseek_lab.text.tokenizer import Bytes
from tiny_run import tiny_config

TOKENIZER = Bytes.Config().build()
WORDS = TOKENIZER.vocab_size


class Reader:
    """A network that has read the whole text: it predicts each token that really follows, or a wrong one."""

    def __init__(self, follows, knows):
        self.head_weight_VD = torch.eye(WORDS)
        self.config = SimpleNamespace(max_seq_len=4096)
        self.follows = follows
        self.knows = knows

    def __call__(self, tokens_BT):
        ahead = torch.stack([self.follows[tuple(row)] for row in tokens_BT.tolist()])
        wrong = (ahead + 1) % WORDS
        known = torch.tensor([self.knows(tuple(row)) for row in tokens_BT.tolist()])
        return SimpleNamespace(hidden_BTD=one_hot(torch.where(known[:, None], ahead, wrong), WORDS).float())


def reader_of(rows, knows=lambda row: True):
    return Reader({tuple(ids[:-1]): torch.tensor(ids[1:]) for ids, _ in rows}, knows)


def test_an_answer_counts_when_every_token_of_it_is_right():
    source = random.Random(0)
    rows = [subject._drawn(source, TOKENIZER, list(range(32, 122)) * 9, 200, 0.5) for _ in range(8)]
    assert {len(ids) for ids, _ in rows} == {200}
    assert found(reader_of(rows), rows) == [True] * 8
    assert found(reader_of(rows, lambda row: False), rows) == [False] * 8
    last = [([*ids[:-1], (ids[-1] + 1) % WORDS], n) for ids, n in rows]
    half_right = reader_of(rows)
    assert found(half_right, last) == [False] * 8, "only the last token is wrong"
    first = [(ids, len(ids) - 1) for ids, _ in rows]
    assert found(half_right, first) == [True] * 8


def test_accuracy_has_a_number_for_each_length_and_depth_and_is_the_same_again():
    model = tiny_config().__class__(**{**vars(tiny_config()), "vocab_size": WORDS, "max_seq_len": 256}).build().eval()
    test = NeedleTest(lengths=[64, 128], n_depths=3, trials=2, seed=1)
    once = accuracy(model, TOKENIZER, list(range(32, 122)) * 9, test)
    assert {length: len(row) for length, row in once.items()} == {64: 3, 128: 3}
    assert once == accuracy(model, TOKENIZER, list(range(32, 122)) * 9, test)
    assert all(value == 0.0 for row in once.values() for value in row), "an untrained network finds nothing"


def test_figures_and_picture_are_written_into_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(subject, "accuracy", lambda *_: {64: [1.0, 0.5], 128: [0.0, 0.25]})
    monkeypatch.setattr(subject, "held_out_filler", lambda _: [])
    model = SimpleNamespace(config=SimpleNamespace(max_seq_len=128))
    run = SimpleNamespace(folder=tmp_path, model=lambda device: model, tokenizer=lambda: TOKENIZER)
    figures = evaluate_needles(run, NeedleTest(lengths=[64, 128], n_depths=2, trials=4, seed=0), torch.device("cpu"))
    assert figures["eval/needle_64/pass@1"] == 0.75
    assert figures["eval/needle_128/pass@1"] == 0.125
    assert json.loads((tmp_path / "needle.json").read_text()) == figures
    assert (tmp_path / "plots" / "needle.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match=r"needle\.lengths goes beyond the model's max_seq_len = 128: 256"):
        evaluate_needles(run, NeedleTest(lengths=[256], n_depths=2, trials=4, seed=0), torch.device("cpu"))


@pytest.mark.parametrize(
    ("field", "value"), [("lengths", []), ("lengths", [8]), ("trials", 0), ("n_depths", "many"), ("seed", -1)]
)
def test_bad_values(field, value):
    with pytest.raises(ConfigError) as error:
        NeedleTest(**{"lengths": [64], "n_depths": 2, "trials": 4, "seed": 0, field: value})
    assert error.value.field == field
