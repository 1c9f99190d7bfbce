"""The engine against decoding each request alone by recomputation: lengths, refills, budgets, stops, errors."""

import pytest
import torch

from deepseek_lab.generation import GREEDY, Engine, Request, Sampling, running
from deepseek_lab.generation.lean.step import LeanStep
from deepseek_lab.generation.noise import uniform
from tests.generation.tiny_models import PARTS, greedy_by_recomputation, tiny_model

PROMPTS = [[3, 1, 4, 1, 5, 9, 2], [6], [5, 3, 5], [8, 9, 7, 9], [3, 2], [3, 8, 4, 6, 2, 6, 4, 3], [1], [2, 7, 1, 8]]
LENGTHS = [5, 12, 3, 9, 1, 7, 20, 4]
HOT = Sampling(temperature=1.3)


@pytest.fixture(params=list(PARTS))
def model(request):
    return tiny_model(request.param)


def requests(sampling=None, **options):
    rule = {} if sampling is None else {"sampling": sampling}
    return [
        Request(prompt=prompt, max_new_tokens=length, seed=seed, **rule, **options)
        for seed, (prompt, length) in enumerate(zip(PROMPTS, LENGTHS, strict=True))
    ]


@pytest.mark.parametrize("max_rows", [1, 3, 64])
def test_greedy_rows_of_any_company_equal_recomputing_each_alone(model, max_rows):
    answers = Engine(model, max_rows=max_rows).run(requests())
    for prompt, length, (completion,) in zip(PROMPTS, LENGTHS, answers, strict=True):
        assert [*prompt, *completion.ids] == greedy_by_recomputation(model, prompt, length)
        assert completion.finish_reason == "length"


def test_sampled_rows_do_not_depend_on_who_else_is_decoded(model):
    together = Engine(model, max_rows=3).run(requests(HOT))
    for request, completions in zip(requests(HOT), together, strict=True):
        assert Engine(model).run([request])[0][0].ids == completions[0].ids


def test_batch_invariant_is_equal_to_the_bit(model):
    model = model.float()
    alone = [Engine(model, batch_invariant=True).run([request])[0] for request in requests(HOT)]
    assert Engine(model, max_rows=3, batch_invariant=True).run(requests(HOT)) == alone


def test_samples_of_one_prompt_share_its_prefill_and_differ_in_noise(model, monkeypatch):
    read, fed = [], []
    forward, step = type(model).forward, LeanStep.__call__
    monkeypatch.setattr(
        type(model), "forward", lambda self, ids, *a, **k: read.append(tuple(ids.shape)) or forward(self, ids, *a, **k)
    )
    monkeypatch.setattr(
        LeanStep, "__call__", lambda self, model, ids, *a: fed.append(len(ids)) or step(self, model, ids, *a)
    )
    five = Request(prompt=PROMPTS[0], max_new_tokens=6, sampling=HOT, n=5, seed=3)
    (samples,) = Engine(model).run([five])
    assert (read, fed) == ([(1, 7)], [5] * 5)
    assert len({sample.ids for sample in samples}) > 1
    monkeypatch.undo()
    (in_waves,) = Engine(model, max_rows=2).run([five])
    assert [sample.ids for sample in in_waves] == [sample.ids for sample in samples]


def test_log_probabilities_are_those_of_a_fresh_forward(model):
    for request, (completion,) in zip(requests(HOT), Engine(model, max_rows=3).run(requests(HOT)), strict=True):
        ids = torch.tensor([[*request.prompt, *completion.ids]])
        with torch.no_grad():
            logprobs = (model(ids).logits[0, :-1] / HOT.temperature).log_softmax(-1)
        expected = logprobs.gather(1, ids[0, 1:, None])[len(request.prompt) - 1 :, 0]
        torch.testing.assert_close(torch.tensor(completion.logprobs, dtype=torch.float64), expected)


def test_a_row_stops_at_its_own_stop_token(model):
    free = Engine(model).run(requests())
    stop = free[1][0].ids[4]
    for completion, whole in zip(Engine(model).run(requests(stop_ids=frozenset({stop}))), free, strict=True):
        ids = whole[0].ids
        cut = ids[: ids.index(stop) + 1] if stop in ids else ids
        assert completion[0].ids == cut
        assert completion[0].finish_reason == ("stop" if stop in ids else "length")


def test_a_budget_makes_requests_wait_and_changes_nothing(model):
    one_row = Engine(model)._running.bytes_of(1, 64)
    engine = Engine(model, cache_bytes=2 * one_row)
    for request in requests():
        engine.submit(request)
    most, n_tokens = 0, 0
    while engine.busy:
        n_tokens += len(engine.step())
        most = max(most, engine.cache_bytes_used)
    assert n_tokens == sum(LENGTHS)
    assert 0 < most <= 2 * one_row
    assert engine.cache_bytes_used == 0
    waited, plenty = Engine(model, cache_bytes=2 * one_row).run(requests()), Engine(model).run(requests())
    assert [completion.ids for (completion,) in waited] == [completion.ids for (completion,) in plenty]


def test_growing_buffers_stay_within_the_budget(model):
    """Three rows fit: two that run and one that joins must not be given room for four."""
    engine = Engine(model, cache_bytes=3 * Engine(model)._running.bytes_of(1, 64))
    most = 0
    for number in range(5):
        engine.submit(Request(prompt=[1 + number], max_new_tokens=30))
        engine.step()
        most = max(most, engine.cache_bytes_used)
    assert most == 3 * Engine(model)._running.bytes_of(1, 64)


def test_what_can_never_be_answered_is_refused_in_one_line(model):
    engine = Engine(model, cache_bytes=1000)
    for request, words in (
        (Request(prompt=[], max_new_tokens=1), "holds no token"),
        (Request(prompt=[1], max_new_tokens=0), "at least one new token"),
        (Request(prompt=[1, 40], max_new_tokens=1), "must lie in 0..39, found 1..40"),
        (Request(prompt=[1] * 60, max_new_tokens=5), "exceed the model's max_seq_len of 64"),
        (Request(prompt=[1], max_new_tokens=5), "bytes is needed, the engine has 1,000"),
        (Request(prompt=[1], max_new_tokens=1, sampling=Sampling(temperature=-1)), "temperature"),
        (Request(prompt=[1], max_new_tokens=1, sampling=Sampling(top_p=0)), "top_p"),
        (Request(prompt=[1], max_new_tokens=1, sampling=Sampling(min_p=2)), "min_p"),
        (Request(prompt=[1], max_new_tokens=1, sampling=Sampling(top_k=0)), "top_k"),
        (Request(prompt=[1], max_new_tokens=1, sampling=Sampling(repetition_penalty=0)), "repetition_penalty"),
    ):
        with pytest.raises(ValueError, match=words) as refused:
            engine.submit(request)
        assert "\n" not in str(refused.value)
    assert not engine.busy


def test_a_cancelled_request_frees_its_rows_and_harms_nobody(model):
    engine = Engine(model, max_rows=2)
    handles = [engine.submit(request) for request in requests()]
    found = {handle: [] for handle in handles}
    for number in range(200):
        if number == 2:
            engine.cancel(handles[1])
            engine.cancel(handles[-1])
        for token in engine.step():
            found[token.handle].append(token)
        if not engine.busy:
            break
    assert [found[handles[i]][-1].finish_reason for i in (1, -1)] == ["cancelled"] * 2
    for number, prompt in enumerate(PROMPTS[:-1]):
        if number != 1:
            ids = [token.id for token in found[handles[number]]]
            assert [*prompt, *ids] == greedy_by_recomputation(model, prompt, LENGTHS[number])


def test_logits_that_are_no_numbers_end_their_row_alone(model):
    """One token's embedding is NaN: the row that holds it dies, the others do not notice, nor does who comes after."""
    clean = Engine(model, max_rows=3).run(requests())
    poison = next(i for i in range(40) if all(i not in [*p, *c[0].ids] for p, c in zip(PROMPTS, clean, strict=True)))
    with torch.no_grad():
        model.embedding.weight[poison] = float("nan")
    asked = requests()
    asked.insert(2, Request(prompt=[3, poison, 4], max_new_tokens=6))
    answers = Engine(model, max_rows=3).run(asked)
    (broken,) = answers.pop(2)
    assert (broken.finish_reason, broken.ids) == ("error", ())
    assert broken.error == "logits at step 0 are not finite"
    assert [c[0].ids for c in answers] == [c[0].ids for c in clean]


def test_streaming_gives_the_tokens_one_by_one_and_leaving_cancels(model):
    request = requests()[3]
    engine = Engine(model)
    assert tuple(token.id for token in engine.stream(request)) == Engine(model).run([request])[0][0].ids
    stream = engine.stream(request)
    next(stream)
    stream.close()
    engine.step()
    assert not engine.busy
    assert engine.cache_bytes_used == 0


def test_the_model_is_left_in_its_mode(model):
    for mode in (True, False):
        model.train(mode)
        Engine(model).run(requests()[:1])
        assert model.training is mode


def test_noise_is_uniform_and_independent_of_its_neighbours():
    for numbers in (
        [uniform(1, 0, i) for i in range(20_000)],
        [uniform(i, 0, 0) for i in range(20_000)],
        [uniform(5, i, 3) for i in range(20_000)],
    ):
        x = torch.tensor(numbers, dtype=torch.float64)
        counts = torch.histc(x, 20, 0, 1)
        assert 4 < float(((counts - 1000) ** 2 / 1000).sum()) < 50, "chi-square of 19 degrees"
        assert abs(float(torch.corrcoef(torch.stack((x[:-1], x[1:])))[0, 1])) < 0.03
    assert uniform(1, 2, 3) == uniform(1, 2, 3) != uniform(2, 1, 3)


@pytest.mark.parametrize(("kind", "depth"), [("gqa_dense", 0), ("mla_moe", 0), ("mla_moe", 1)])
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=0.6, top_k=5, repetition_penalty=1.5)])
def test_own_log_probabilities_are_those_of_a_forward_over_the_text(kind, depth, sampling):
    """Whatever the temperature, penalties and filters; only for requests that ask, here beside one that does not."""
    model = tiny_model(kind)
    engine = Engine(model, speculative_depth=depth)
    engine.submit(Request(prompt=[5], max_new_tokens=12, sampling=sampling))
    tokens = list(
        engine.stream(Request(prompt=[1, 4, 2], max_new_tokens=12, sampling=sampling, seed=3, top_logprobs=4))
    )
    with torch.no_grad():
        logp_TV = model(torch.tensor([[1, 4, 2, *(token.id for token in tokens)]])).logits[0].log_softmax(-1)
    assert len(tokens) == 12
    for place, token in enumerate(tokens):
        wanted_V = logp_TV[2 + place]
        assert token.own.logprob == pytest.approx(float(wanted_V[token.id]), abs=1e-9)
        values, ids = wanted_V.topk(4)
        assert [one for one, _ in token.own.top] == ids.tolist()
        assert [value for _, value in token.own.top] == pytest.approx(values.tolist(), abs=1e-9)
    assert all(token.own is None for token in engine.stream(Request(prompt=[1], max_new_tokens=2)))


def test_more_likeliest_tokens_than_there_are_and_none():
    engine = Engine(tiny_model("gqa_dense"))
    (token,) = engine.stream(Request(prompt=[1], max_new_tokens=1, top_logprobs=1000))
    assert len(token.own.top) == 40
    (token,) = engine.stream(Request(prompt=[1], max_new_tokens=1, top_logprobs=0))
    assert token.own.top == ()


@pytest.mark.parametrize("prompt", [[7], [1, 4, 2], list(range(40))], ids=len)
def test_log_probabilities_of_a_prompt_are_those_of_a_forward_over_it(prompt, monkeypatch):
    """Beside a longer prompt (padding), and at more places than are looked at together."""
    monkeypatch.setattr(running, "_PROMPT_PLACES", 16)
    model = tiny_model("mla_moe")
    engine = Engine(model)
    ask = {"max_new_tokens": 2, "n": 2, "top_logprobs": 3}
    engine.submit(Request(prompt=[3] * 50, max_new_tokens=1))
    asked = engine.submit(Request(prompt=prompt, prompt_logprobs=True, **ask))
    plain = engine.submit(Request(prompt=prompt, **ask))
    tokens = engine.step() + engine.step()
    assert all(token.prompt_own == () for token in tokens if token.handle == plain or token.index == 1)
    with torch.no_grad():
        logp_TV = model(torch.tensor([prompt])).logits[0].log_softmax(-1)
    for token in [token for token in tokens if token.handle == asked and token.index == 0]:
        assert len(token.prompt_own) == len(prompt) - 1
        for place, own in enumerate(token.prompt_own):
            assert own.logprob == pytest.approx(float(logp_TV[place, prompt[place + 1]]), abs=1e-9)
            assert [one for one, _ in own.top] == logp_TV[place].topk(3).indices.tolist()
