"""Speculative decoding: greedy texts are those of plain decoding, sampled ones follow the same distribution."""

from collections import Counter

import pytest
import torch

import deepseek_lab.generation.running as running
from deepseek_lab.generation import Engine, Request, Sampling
from deepseek_lab.generation.distribution import probabilities
from deepseek_lab.generation.drafting import Drafter
from deepseek_lab.generation.noise import ACCEPT, uniform
from tests.generation.test_distribution import exact, p_value
from tests.generation.test_engine import requests
from tests.generation.tiny_models import tiny_model

PROMPT = [1, 4, 2]
HOT, WARM = Sampling(), Sampling(temperature=0.7)
NUCLEUS = Sampling(temperature=0.7, top_p=0.9)
PENALISED = Sampling(temperature=0.7, repetition_penalty=1.4)


@pytest.fixture(params=[("gqa_dense", 1), ("mla_moe", 1), ("mla_moe", 2)], ids=str)
def model(request):
    kind, depth = request.param
    return tiny_model(kind, depth=depth)


@pytest.mark.parametrize("max_rows", [1, 3, 64])
def test_greedy_texts_are_those_of_plain_decoding(model, max_rows):
    for depth in range(1, len(model.mtp) + 1):
        drafted = Engine(model, max_rows=max_rows, speculative_depth=depth).run(requests())
        for (ours,), (plain,) in zip(drafted, Engine(model).run(requests()), strict=True):
            assert (ours.ids, ours.finish_reason) == (plain.ids, plain.finish_reason)
            assert ours.logprobs == pytest.approx(plain.logprobs)


def test_drafts_are_those_of_the_modules_reading_the_true_text(model, monkeypatch):
    """What the caches of the modules hold after many rounds equals one forward over prompt and completion."""
    depth, drafts = len(model.mtp), []
    draft = Drafter.draft

    def noted(self, rows):
        found = draft(self, rows)
        drafts.append((list(rows[0].seen), found[0][0]))
        return found

    monkeypatch.setattr(Drafter, "draft", noted)
    Engine(model, speculative_depth=depth).run([Request(prompt=PROMPT, max_new_tokens=20)])
    assert len(drafts) > 5
    for seen, found in drafts:
        with torch.no_grad():
            for k in range(1, depth + 1):
                output = model(torch.tensor([[*seen, *found[: k - 1]]]), mtp=True)
                assert int(output.mtp_logits(k)[0, -1].argmax()) == found[k - 1]


def samples(model, rule, n, depth, length=4):
    engine = Engine(model, max_rows=700, speculative_depth=depth)
    (found,) = engine.run([Request(prompt=PROMPT, max_new_tokens=length, sampling=rule, n=n, seed=7)])
    return Counter(sample.ids for sample in found), engine.acceptance


IN_SUITE = [(1, HOT), (1, NUCLEUS), (2, HOT), (2, PENALISED)]
CASES = [pytest.param(depth, rule, 20_000, id=f"{depth}-{rule}") for depth, rule in IN_SUITE] + [
    pytest.param(depth, rule, 100_000, marks=pytest.mark.slow, id=f"{depth}-{rule}-long")
    for depth in (1, 2)
    for rule in (HOT, WARM, NUCLEUS, PENALISED)
]


@pytest.mark.parametrize(("depth", "rule", "n"), CASES)
def test_sampled_texts_follow_the_main_models_distribution(depth, rule, n):
    """5 tokens of a vocabulary of 5, through refills, at an acceptance from 0.3 to 0.8; a fixed seed."""
    model = tiny_model("mla_moe", vocab_size=5, depth=2, init_std=0.15)
    counts, acceptance = samples(model, rule, n, depth, length=5)
    assert p_value(counts, exact(model, PROMPT, 5, rule), n) > 1e-3 / 8
    assert all(0.3 < share < 0.8 for share in acceptance.values()), acceptance
    assert len(acceptance) == depth


def each(rule):
    """A rule of one row for all rows."""
    return lambda rows, drafts, q, p: [rule(*row) for row in zip(rows, drafts, q, p, strict=True)]


BROKEN = {
    "always accept": lambda row, drafts, q, p: list(drafts),
    "no residual": lambda row, drafts, q, p: wrong(row, drafts, q, p, p),
    "residual not cut off": lambda row, drafts, q, p: wrong(row, drafts, q, p, (p - q_padded(q)).abs()),
    "bonus from the draft": lambda row, drafts, q, p: bonus_from(row, drafts, q, p),
}


def q_padded(q_KV):
    return torch.cat((q_KV, torch.zeros_like(q_KV[:1])))


def wrong(row, drafts, q_KV, p_JV, left_JV):
    """The rule with another mass in the place of what is left of p."""
    for place, draft in enumerate(drafts):
        if not running_number(row, place) < float(p_JV[place, draft]) / float(q_KV[place, draft]):
            return [*drafts[:place], int(torch.multinomial(left_JV[place], 1))]
    return [*drafts, int(torch.multinomial(p_JV[len(drafts)], 1))]


def bonus_from(row, drafts, q_KV, p_JV):
    (tokens,) = SOUND([row], [drafts], q_KV[None], p_JV[None])
    return tokens if len(tokens) <= len(drafts) else [*drafts, int(torch.multinomial(q_KV[-1], 1))]


def running_number(row, place):
    return uniform(*row.counter(place), ACCEPT)


SOUND = running.verified


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_rule_is_seen(fault, monkeypatch):
    torch.manual_seed(0)
    model, n = tiny_model("mla_moe", vocab_size=5, depth=1, init_std=0.2), 4000
    monkeypatch.setattr(running, "verified", each(BROKEN[fault]))
    assert p_value(samples(model, HOT, n, 1)[0], exact(model, PROMPT, 4, HOT), n) < 1e-6


def test_drafts_that_stay_in_the_cache_are_seen(monkeypatch):
    """Without the rollback the main model reads rejected drafts as if they had been said."""
    model, n = tiny_model("mla_moe", vocab_size=5, depth=1, init_std=0.2), 4000
    kept = running.RunningRows._roll_back
    monkeypatch.setattr(running.RunningRows, "_roll_back", lambda self, number, n_kept: kept(self, number, 2))
    assert p_value(samples(model, HOT, n, 1)[0], exact(model, PROMPT, 4, HOT), n) < 1e-6


def test_a_filter_on_one_side_is_seen(monkeypatch):
    """Drafts from the filtered distribution, checked against the unfiltered one."""
    model, n, rule = tiny_model("mla_moe", vocab_size=5, depth=1, init_std=0.2), 4000, Sampling(top_p=0.7)
    monkeypatch.setattr(running, "probabilities", lambda logits, rules: probabilities(logits, [HOT] * len(rules)))
    assert p_value(samples(model, rule, n, 1)[0], exact(model, PROMPT, 4, rule), n) < 1e-6


def test_what_cannot_be_drafted_is_refused_in_one_line():
    model = tiny_model("gqa_dense", depth=1)
    with pytest.raises(ValueError, match="the model has 1 MTP modules, not 2"):
        Engine(model, speculative_depth=2)
    with pytest.raises(ValueError, match="one of the two"):
        Engine(model, speculative_depth=1, batch_invariant=True)


def test_the_budget_counts_the_modules_caches(model):
    plain, drafting = Engine(model)._running, Engine(model, speculative_depth=len(model.mtp))._running
    assert drafting.bytes_of(2, 64) > plain.bytes_of(2, 64)
    budget = drafting.bytes_of(2, 40)
    engine = Engine(model, speculative_depth=len(model.mtp), cache_bytes=budget)
    for request in requests():
        engine.submit(request)
    while engine.busy:
        engine.step()
        assert engine.cache_bytes_used <= budget
    assert engine.cache_bytes_used == 0
