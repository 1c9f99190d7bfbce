"""Generation against full recomputation, for every attention, with ragged prompts and stops."""

import pytest
import torch

from deepseek_lab.generation import generate
from deepseek_lab.generation.decoding import decode_many, prefill
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


def test_sampling_follows_its_own_seed_and_leaves_the_global_one(model):
    prompt = torch.tensor([[3, 1, 4]])
    state = torch.get_rng_state()
    runs = [generate(model, prompt, 20, temperature=1.0, seed=seed).tolist() for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    assert torch.equal(state, torch.get_rng_state())


def test_a_padded_tensor_is_its_rows_without_padding(model):
    prompts = [[3, 1, 4], [5]]
    padded, valid = torch.tensor([[3, 1, 4], [7, 7, 5]]), torch.tensor([[True] * 3, [False, False, True]])
    assert torch.equal(generate(model, padded, 6, valid_BT=valid), generate(model, prompts, 6))


def test_plain_decoding_equals_recomputing_the_whole_text(model):
    prompt = [3, 1, 4, 1, 5]
    cache = model.new_cache(1, 20)
    with torch.no_grad():
        logits = prefill(model, torch.tensor([prompt]), cache)
    new = decode_many(model, logits, cache, 12, lambda logits_BV: logits_BV.argmax(-1))
    assert [*prompt, *new[0].tolist()] == greedy_by_recomputation(model, prompt, 12)


@pytest.mark.parametrize(
    ("prompt", "new", "message"),
    [
        ([[]], 4, "no token"),
        ([], 4, "at least one token"),
        ([[41]], 4, "0..39"),
        ([[1]], 64, "max_seq_len"),
        ([[1]], 0, "at least one"),
    ],
)
def test_refusals_are_one_clear_line(model, prompt, new, message):
    with pytest.raises(ValueError, match=message):
        generate(model, prompt, new)


def test_the_model_keeps_its_mode(model):
    model.train()
    generate(model, [[1, 2]], 2)
    assert model.training
