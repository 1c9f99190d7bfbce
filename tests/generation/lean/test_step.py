"""The lean step gives the logits of the plain one, part by part and whole, and takes no part that is not its own."""

import pytest
import torch

from deepseek_lab.generation import Engine, Request
from deepseek_lab.generation.decoding import decode_one, prefill
from deepseek_lab.generation.lean.product import norm, product
from deepseek_lab.generation.lean.step import LeanStep, decode_one_of
from deepseek_lab.model.linear import Linear, decoding
from deepseek_lab.model.norm import RMSNorm
from deepseek_lab.model.prepared import Prepared
from deepseek_lab.precision.applying import apply
from tests.generation.tiny_models import PARTS, tiny_model
from tests.model.tiny import build, latent
from tests.precision_recipes import fp8

STREAMS = {"from the cache": False, "from memory": True}


def logits_of(step, model, prompts, new):
    """(new, B, V) of tokens fed behind prompts of equal or other lengths, and the experts of each step."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    valid = torch.tensor([[False] * (width - len(prompt)) + [True] * len(prompt) for prompt in prompts])
    cache, noted = model.new_cache(len(prompts), width + new), []
    with torch.no_grad():
        prefill(model, ids, cache, None if bool(valid.all()) else valid)
        rows = [step(model, (torch.arange(len(prompts)) * 7 + n) % 40, cache, noted) for n in range(new)]
    return torch.stack(rows), noted


@pytest.mark.parametrize("streams", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize(
    "prompts", [[[3, 1, 4]], [[3, 1], [5, 9]], [[3], [1, 4], [1, 5, 9]]], ids=["one", "two", "ragged"]
)
@pytest.mark.parametrize("kind", PARTS)
def test_logits_and_experts_equal_those_of_the_plain_step(kind, prompts, streams):
    model = tiny_model(kind)
    lean = LeanStep(model, Prepared(streams=streams, keeps=True, packs=True))
    (wanted, experts), (found, noted) = (logits_of(step, model, prompts, 3) for step in (decode_one, lean))
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=0)
    assert len(noted) == len(experts) == (3 if kind == "mla_moe" else 0)
    for one, other in zip(noted, experts, strict=True):
        assert torch.equal(one.sort(-1).values, other.sort(-1).values)


@pytest.mark.parametrize("layout", ["interleaved", "half_split"])
@pytest.mark.parametrize("q_lora_rank", [None, 12])
def test_every_latent_attention_has_its_lean_form(q_lora_rank, layout):
    model = build(latent(q_lora_rank=q_lora_rank, rope_layout=layout), "dense").double()
    lean = LeanStep(model, Prepared(keeps=True))
    wanted, found = (logits_of(step, model, [[3, 1, 4], [1, 5, 9]], 2)[0] for step in (decode_one, lean))
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=0)


def test_a_replaced_layer_runs_as_its_recipe_says():
    model = tiny_model("mla_moe").float()
    plain = logits_of(decode_one, model, [[3, 1, 4]], 2)[0]
    apply(model, fp8())
    lean = LeanStep(model, Prepared(keeps=True))
    wanted, found = (logits_of(step, model, [[3, 1, 4]], 2)[0] for step in (decode_one, lean))
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found, plain)


@pytest.mark.parametrize("rows", [1, 2, 3, 9])
@torch.no_grad()
def test_products_and_norms_equal_their_modules(rows):
    torch.manual_seed(rows)
    x, linear, scale = torch.randn(rows, 300), Linear(300, 400), RMSNorm(300)
    torch.nn.init.normal_(scale.weight)
    with decoding(Prepared(keeps=True, packs=True)):
        for _ in range(6):  # the last ones packed, from three rows on
            torch.testing.assert_close(
                product(linear, True)(x), torch.nn.functional.linear(x, linear.weight, linear.bias)
            )
    torch.testing.assert_close(norm(scale)(x), scale(x))


def test_an_engine_that_rests_takes_changed_weights():
    model = tiny_model("mla_moe")
    engine, request = Engine(model), Request(prompt=[3, 1, 4], max_new_tokens=8)
    before = engine.run([request])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.data.neg_()
    assert engine.run([request]) == Engine(model).run([request]) != before


class Sharded(torch.nn.Parameter):
    """As the parameters of a sharded model are: of a class of their own."""


def test_only_whole_models_in_full_precision_on_a_cpu_are_lean():
    model = tiny_model("gqa_dense")
    assert isinstance(decode_one_of(model, Prepared()), LeanStep)
    assert decode_one_of(model.bfloat16(), Prepared()) is decode_one
    part = tiny_model("gqa_dense")
    gate = part.blocks[0].attention_norm
    gate.weight = Sharded(gate.weight.detach())  # fully_shard leaves what lies outside the blocks as it is
    assert decode_one_of(part, Prepared()) is decode_one
