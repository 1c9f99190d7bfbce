"""Filters and penalties against their definitions, and whole sampled texts against their exact distribution."""

from collections import Counter
from itertools import product

import pytest
import torch
from scipy.stats import chi2

from deepseek_lab.generation import GREEDY, Engine, Request, Sampling
from deepseek_lab.generation.distribution import drawn, penalised, probabilities
from tests.generation.tiny_models import tiny_model

LOGITS = torch.tensor([[2.0, 0.5, 1.0, -1.0, 1.5]])


def by_definition(logits, rule):
    """One row, in plain Python: sort, cut, renormalise, one filter after the other."""
    p = (logits.double() / rule.temperature).softmax(-1).tolist()
    order = sorted(range(len(p)), key=lambda i: -p[i])[: rule.top_k]
    total = sum(p[i] for i in order)
    kept, mass = [], 0.0
    for i in order:
        if rule.top_p == 1 or mass < rule.top_p:
            kept.append(i)
        mass += p[i] / total
    kept = [i for i in kept if p[i] >= rule.min_p * p[order[0]]]
    total = sum(p[i] for i in kept)
    return [p[i] / total if i in kept else 0.0 for i in range(len(p))]


RULES = [
    Sampling(),
    Sampling(temperature=0.5),
    Sampling(top_k=3),
    Sampling(top_p=0.6),
    Sampling(min_p=0.3),
    Sampling(temperature=2.0, top_k=4, top_p=0.8, min_p=0.5),
    Sampling(top_p=1e-9),
]


def test_each_row_of_a_batch_has_its_own_filters():
    p_BV = probabilities(LOGITS.repeat(len(RULES), 1), RULES)
    for row, rule in zip(p_BV, RULES, strict=True):
        assert row.tolist() == pytest.approx(by_definition(LOGITS[0], rule))


def test_greedy_takes_the_likeliest_beside_sampled_rows():
    p_BV = probabilities(LOGITS.repeat(2, 1), [GREEDY, Sampling()])
    assert p_BV[0].tolist() == [1, 0, 0, 0, 0]
    assert 0 < float(p_BV[1, 0]) < 1


def test_a_penalty_divides_positive_logits_and_multiplies_negative_ones():
    rules = [Sampling(repetition_penalty=2.0), Sampling()]
    changed = penalised(LOGITS.repeat(2, 1), rules, [[0, 3, 3], ()])
    assert changed.tolist() == [[1.0, 0.5, 1.0, -2.0, 1.5], LOGITS[0].tolist()]


def test_no_number_draws_a_token_that_was_ruled_out():
    p_BV = torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0]], dtype=torch.float64).repeat(5, 1)
    numbers = torch.tensor([0.0, 0.299999, 0.3, 0.7, 1 - 2**-53], dtype=torch.float64)
    assert drawn(p_BV, numbers).tolist() == [1, 1, 3, 3, 3]


def exact(model, prompt, length, rule):
    """Every text of `length` tokens and its probability, by a forward over each."""
    texts = list(product(range(model.config.vocab_size), repeat=length))
    ids = torch.tensor([[*prompt, *text] for text in texts])
    with torch.no_grad():
        logits = model(ids).logits[:, len(prompt) - 1 : -1]
    mass = torch.ones(len(texts), dtype=torch.float64)
    for step in range(length):
        seen = [[*prompt, *text[:step]] for text in texts]
        rules = [rule] * len(texts)
        p_BV = probabilities(penalised(logits[:, step], rules, seen), rules)
        mass *= p_BV.gather(1, ids[:, len(prompt) + step, None])[:, 0]
    return dict(zip(texts, mass.tolist(), strict=True))


def p_value(counts, expected, n):
    """Pearson's chi-square, cells that expect fewer than 5 pooled; 0 for a text that cannot be."""
    if any(expected[text] == 0 for text in counts):
        return 0.0
    large = [text for text, mass in expected.items() if mass * n >= 5]
    cells = [(counts[text], expected[text] * n) for text in large]
    rest = (n - sum(seen for seen, _ in cells), n - sum(mass for _, mass in cells))
    cells += [rest] if rest[1] > 1 else []
    return float(chi2.sf(sum((seen - mass) ** 2 / mass for seen, mass in cells), len(cells) - 1))


HOT, NUCLEUS = Sampling(), Sampling(top_p=0.8)
RULES_OF_TEXTS = [HOT, Sampling(temperature=0.7), NUCLEUS, Sampling(temperature=0.7, repetition_penalty=1.5)]
CASES = [
    *[pytest.param("mla_moe", rule, 20_000, id=f"mla_moe-{rule}") for rule in RULES_OF_TEXTS],
    pytest.param("gqa_dense", NUCLEUS, 20_000, id="gqa_dense"),
    *[
        pytest.param(kind, rule, 100_000, marks=pytest.mark.slow, id=f"{kind}-{rule}-long")
        for kind in ("gqa_dense", "mla_moe")
        for rule in RULES_OF_TEXTS
    ],
]


@pytest.mark.parametrize(("kind", "rule", "n"), CASES)
def test_whole_texts_follow_their_exact_distribution(kind, rule, n):
    """5 tokens of a vocabulary of 5, through refills; a fixed seed, so that it always ends the same way."""
    model, prompt = tiny_model(kind, vocab_size=5, init_std=0.15), [1, 4, 2]
    (samples,) = Engine(model, max_rows=700).run(
        [Request(prompt=prompt, max_new_tokens=5, sampling=rule, n=n, seed=11)]
    )
    counts = Counter(sample.ids for sample in samples)
    assert p_value(counts, exact(model, prompt, 5, rule), n) > 1e-3 / 8
    wrong = exact(model, prompt, 5, Sampling(temperature=rule.temperature * 1.3, top_p=rule.top_p))
    assert p_value(counts, wrong, n) < 1e-6, "a temperature that is wrong by three tenths is seen"
