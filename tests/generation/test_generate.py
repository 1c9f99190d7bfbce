"""Generation against full recomputation, for every attention, with ragged prompts and stops."""

import pytest
import torch

from deepseek_lab.generation import generate
from deepseek_lab.generation.sampling import next_token
from tests.generation.tiny_models import greedy_by_recomputation, tiny_model


@pytest.fixture(params=["gqa_dense", "mla_moe"])
def model(request):
    return tiny_model(request.param)


def test_greedy_equals_recomputing_the_whole_text(model):
    prompt = [3, 1, 4, 1, 5]
    assert generate(model, torch.tensor([prompt]), 12)[0].tolist() == greedy_by_recomputation(model, prompt, 12)


def test_ragged_rows_equal_each_row_alone(model):
    prompts = [[3, 1, 4, 1, 5, 9, 2], [6], [5, 3, 5]]
    together = generate(model, prompts, 10)
    for row, prompt in zip(together.tolist(), prompts, strict=True):
        assert row[7 - len(prompt) :] == greedy_by_recomputation(model, prompt, 10)


def test_a_row_that_ended_repeats_its_end(model):
    prompt = [3, 1, 4]
    free = generate(model, torch.tensor([prompt]), 10)[0].tolist()
    eos = free[5]
    stopped = generate(model, torch.tensor([prompt]), 10, eos_id=eos)[0].tolist()
    assert stopped == free[: free.index(eos, 3) + 1]


def test_sampling_follows_its_own_generator_and_leaves_the_global_one(model):
    prompt = torch.tensor([[3, 1, 4]])
    state = torch.get_rng_state()
    runs = [
        generate(model, prompt, 20, temperature=1.0, generator=torch.Generator().manual_seed(s)).tolist()
        for s in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]
    assert torch.equal(state, torch.get_rng_state())


def test_samples_follow_the_softmax():
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0]).repeat(40_000, 1)
    drawn = next_token(logits, 0.7, generator=torch.Generator().manual_seed(0))
    share = torch.bincount(drawn, minlength=4) / 40_000
    assert torch.allclose(share, (logits[0] / 0.7).softmax(0), atol=0.01)
    top2 = next_token(logits, 0.7, top_k=2, generator=torch.Generator().manual_seed(0))
    assert set(top2.tolist()) == {1, 2}


@pytest.mark.parametrize(
    ("prompt", "new", "message"),
    [([[]], 4, "no token"), ([[41]], 4, "0..39"), ([[1]], 64, "max_seq_len"), ([[1]], 0, "at least 1")],
)
def test_refusals_are_one_clear_line(model, prompt, new, message):
    with pytest.raises(ValueError, match=message):
        generate(model, prompt, new)


def test_the_model_keeps_its_mode(model):
    model.train()
    generate(model, [[1, 2]], 2)
    assert model.training
