"""The experts that an engine notes are those of a fresh forward, and one that is given them uses them."""

import pytest
import torch

from deepseek_lab.generation import Engine, Request, Sampling
from deepseek_lab.generation.routing import chosen_experts, experts_differ
from tests.generation.test_engine import requests
from tests.generation.tiny_models import tiny_model

HOT = Sampling(temperature=1.3)


@pytest.mark.parametrize("max_rows", [1, 3, 64])
def test_noted_experts_are_those_of_a_fresh_forward(max_rows):
    model = tiny_model("mla_moe")
    asked = [*requests(HOT), Request(prompt=[3, 1, 2], max_new_tokens=6, sampling=HOT, n=3)]
    for request, completions in zip(
        asked, Engine(model, max_rows=max_rows, record_routing=True).run(asked), strict=True
    ):
        for completion in completions:
            ids = torch.tensor([[*request.prompt, *completion.ids[:-1]]])
            with torch.no_grad():
                fresh_TLK = chosen_experts(model(ids))[0]
            assert completion.routing.shape == fresh_TLK.shape
            assert not experts_differ(completion.routing, fresh_TLK).any()


def test_nothing_is_noted_unasked():
    assert Engine(tiny_model("mla_moe")).run(requests())[0][0].routing is None


def test_given_experts_run_and_their_own_choice_changes_nothing():
    model = tiny_model("mla_moe")
    ids = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    own = model(ids)
    chosen_BTLK = chosen_experts(own).long()
    torch.testing.assert_close(model(ids, chosen_BTLK=chosen_BTLK).logits, own.logits, atol=1e-12, rtol=0)
    others = (chosen_BTLK + 1) % 4
    replayed = model(ids, chosen_BTLK=others)
    assert (chosen_experts(replayed) == others).all()
    assert not torch.allclose(replayed.logits, own.logits)


def test_replaying_makes_up_for_a_router_that_would_choose_otherwise():
    """The bias moves after the rollout: log-probabilities with the noted experts are those of the rollout still."""
    model = tiny_model("mla_moe")
    request = Request(prompt=[3, 1, 4], max_new_tokens=12, sampling=HOT)
    ((completion,),) = Engine(model, record_routing=True).run([request])
    model.blocks[1].ffn.router.selection_bias_E += torch.tensor([1.0, -1.0, 1.0, -1.0])
    ids = torch.tensor([[*request.prompt, *completion.ids[:-1]]])
    with torch.no_grad():
        assert experts_differ(chosen_experts(model(ids))[0], completion.routing).any()
        replayed = model(ids, chosen_BTLK=completion.routing[None].long())
    logprobs = (replayed.logits[0, 2:] / HOT.temperature).log_softmax(-1)
    found = logprobs.gather(1, torch.tensor(completion.ids)[:, None])[:, 0]
    torch.testing.assert_close(found, torch.tensor(completion.logprobs, dtype=torch.float64))


def test_the_order_of_experts_is_no_difference():
    one = torch.tensor([[[0, 1], [2, 3]], [[0, 1], [2, 3]], [[1, 2], [0, 3]]])
    other = torch.tensor([[[1, 0], [3, 2]], [[0, 1], [2, 1]], [[1, 2], [0, 3]]])
    assert experts_differ(one, other).tolist() == [False, True, False]


@pytest.mark.parametrize(("kind", "options"), [("gqa_dense", {}), ("mla_moe", {"speculative_depth": 1})])
def test_what_cannot_be_recorded_is_refused(kind, options):
    with pytest.raises(ValueError, match="record_routing needs"):
        Engine(tiny_model(kind), record_routing=True, **options)
