"""Preference batches: both answers side by side, whole or not at all, numbered over all splits."""

import pytest
import torch

from deepseek_lab.config import ConfigError
from deepseek_lab.data.embedded_instructions import EmbeddedInstructions
from deepseek_lab.data.preference import PreferenceData
from deepseek_lab.data.preference_pairs import EmbeddedPreferences
from deepseek_lab.text.tokenizer import END_OF_TEXT, Bytes


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def build(cache, **changed):
    corpus = EmbeddedPreferences.Config(n_pairs=80, wrong_share=0.25, seed=0)
    values = {"corpus": corpus, "cache_dir": str(cache), "seq_len": 256, "batch_size": 4, "validation_share": 0.2}
    return PreferenceData.Config(**{**values, **changed}).build(Bytes.Config(), 300, 1)


def test_a_row_holds_a_question_with_both_its_answers(cache):
    data = build(cache)
    pairs = data.config.corpus.build().pairs()
    known = {(pair.chosen[0].content, pair.chosen[1].content, pair.rejected[1].content) for pair in pairs}
    (batch,) = data.step_batch(0)
    for tokens, inside, answer in zip(batch.tokens_P2T1, batch.inside_P2T1, batch.answer_P2T1, strict=True):
        chosen, rejected = (data.tokenizer.decode(tokens[side][answer[side]].tolist()) for side in range(2))
        asked = data.tokenizer.decode(tokens[0][inside[0] & ~answer[0]].tolist(), skip_special=True)
        assert chosen.endswith(END_OF_TEXT)
        assert rejected.endswith(END_OF_TEXT)
        assert (asked, chosen.removesuffix(END_OF_TEXT), rejected.removesuffix(END_OF_TEXT)) in known
    assert batch.inside_P2T1.any(0).any(0)[-1], "as wide as the longest, no wider"


def test_pairs_that_do_not_fit_are_left_out_whole(cache):
    full, narrow = build(cache), build(cache, seq_len=100)
    lengths = [batch.inside_P2T1.sum(-1) for batch in full.every_pair()]
    assert narrow.n_pairs == (torch.cat(lengths) <= 101).all(1).sum()
    assert 0 < narrow.n_pairs < full.n_pairs


def test_numbers_are_those_of_every_pair_in_order(cache):
    data = build(cache)
    every = list(data.every_pair())
    assert torch.cat([batch.number_P for batch in every]).tolist() == list(range(data.n_pairs))
    (batch,) = data.step_batch(2)
    held_out = next(iter(data.validation_batches()))
    assert held_out.number_P.min() > max(data.step_batch(k)[0].number_P.max() for k in range(9))
    by_number = {int(n): t for one in every for n, t in zip(one.number_P, one.tokens_P2T1, strict=True)}
    own = by_number[int(batch.number_P[1])]
    width = min(own.shape[-1], batch.tokens_P2T1.shape[-1])
    assert torch.equal(own[:, :width], batch.tokens_P2T1[1][:, :width])


def test_instructions_are_no_preferences(cache):
    with pytest.raises(ConfigError, match="preferences, not EmbeddedInstructions"):
        build(cache, corpus=EmbeddedInstructions.Config())
