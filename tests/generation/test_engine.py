"""Requests side by side: each as alone, its own stop and length, filters that filter, rows that are freed."""

import dataclasses

import pytest
import torch

from deepseek_lab.generation import Engine, Request, Sampling, generate
from tiny_run import tiny_config

PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10]]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return dataclasses.replace(tiny_config(), init_std=0.3).build().eval()


def ids(completions):
    return [[sample.ids for sample in samples] for samples in completions]


def test_greedy_is_that_of_generate_for_any_number_of_rows(model):
    expected = [generate(model, [prompt], 8)[0, len(prompt) :].tolist() for prompt in PROMPTS]
    for rows in (1, 2, 3):
        assert ids(Engine(model, max_rows=rows).run([Request(p, 8) for p in PROMPTS])) == [[e] for e in expected]


def test_samples_depend_on_their_seed_alone(model):
    request = Request([1, 2], 10, Sampling(temperature=1.0), seed=5, n=3)
    alone = ids(Engine(model).run([request]))
    beside = ids(Engine(model, max_rows=2).run([Request([3], 4), request]))
    assert beside[1] == alone[0]
    assert len({tuple(sample) for sample in alone[0]}) == 3


@pytest.mark.parametrize("sampling", [Sampling(top_k=1), Sampling(top_p=1e-9), Sampling(min_p=1.0)])
def test_the_narrowest_filter_is_greedy(model, sampling):
    engine = Engine(model)
    assert ids(engine.run([Request([1, 2], 10, sampling)])) == ids(engine.run([Request([1, 2], 10)]))


def test_a_penalty_keeps_from_repeating(model):
    (plain,), (penalised,) = ids(
        Engine(model).run([Request([1], 12), Request([1], 12, Sampling(temperature=0.0, repetition_penalty=50.0))])
    )
    assert len(set(penalised)) > len(set(plain))


def test_stop_and_length_and_cancel(model):
    engine = Engine(model)
    first = ids(engine.run([Request([1, 2], 6)]))[0][0]
    ((stopped,),) = engine.run([Request([1, 2], 6, stop_ids=frozenset({first[2]}))])
    assert (stopped.finish_reason, stopped.ids) == ("stop", first[: first.index(first[2]) + 1])
    handle = engine.submit(Request([1], 50, n=2))
    engine.step()
    assert engine.cache_bytes_used > 0
    engine.cancel(handle)
    assert not engine.busy
    assert engine.cache_bytes_used == 0


def test_logits_that_are_no_numbers_end_their_request(model):
    broken = dataclasses.replace(tiny_config(), init_std=0.3).build().eval()
    with torch.no_grad():
        broken.head_weight_VD.fill_(float("nan"))
    engine = Engine(broken)
    engine.submit(Request([1], 5))
    (token,) = engine.step()
    assert token.finish_reason == "error"
    assert token.error == "NaN or infinite logits at step 0"
    assert not engine.busy


@pytest.mark.parametrize(
    "request_",
    [Request([], 4), Request([99], 4), Request([-1], 4), Request([1], 64)],
    ids=["empty", "high", "low", "long"],
)
def test_requests_that_cannot_run(model, request_):
    with pytest.raises(ValueError, match=r"no token|out of range|max_seq_len"):
        Engine(model).submit(request_)


def test_what_it_lacks_is_refused(model):
    with pytest.raises(ValueError, match="speculative_depth is not offered"):
        Engine(model, speculative_depth=1)
