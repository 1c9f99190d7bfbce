"""Which kernels run for each choice: a slower path would give the same numbers, so only its name betrays it.

Attention: torch's fused CPU kernel for short, masked and cached contexts, our blocked one for long causal rows, our
own by segments for long rows of documents, and never the path that holds all scores. Experts: one grouped product each
way, whatever their number; a loop over the chosen few when a handful of tokens is decoded.
"""

import pytest
import torch
from torch.profiler import profile

from deepseek_lab.command_line import PROJECT_ROOT, register_resolvers
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import task_config
from deepseek_lab.experiment.configs import read_model
from deepseek_lab.generation.decoding import decode_one, prefill
from deepseek_lab.model.ffn.moe import MixtureOfExperts
from deepseek_lab.precision.applying import apply
from deepseek_lab.seams import _kernel_takes
from model.tiny import ATTENTIONS, FFNS, LAYERS, build, mixture, tokens
from precision_recipes import bf16

FUSED, FUSED_BACKWARD = (f"aten::_scaled_dot_product_flash_attention_for_cpu{end}" for end in ("", "_backward"))
BLOCKED, BLOCKED_BACKWARD = "_BlockedCausalAttention", "_BlockedCausalAttentionBackward"
BY_SEGMENT, BY_SEGMENT_BACKWARD = "_SegmentAttention", "_SegmentAttentionBackward"
ALL_SCORES = "aten::_scaled_dot_product_attention_math"
GROUPED = "aten::_grouped_mm"
MIXTURES = LAYERS - 1
SHORT, LONG = 40, 260


def ran(call):
    """How often each operation ran."""
    with profile() as recorded:
        call()
    return {event.key: event.count for event in recorded.key_averages()}


def trained(model, time, **inputs):
    return ran(lambda: model(tokens(2, time), **inputs).logits.square().mean().backward())


def decoded(model, rows):
    cache = model.new_cache(rows, SHORT)
    with torch.no_grad():
        prefill(model, tokens(rows, 16), cache)
        return ran(lambda: decode_one(model, tokens(rows, 1)[:, 0], cache))


def experts_of(seen):
    return seen.get(GROUPED, 0)


@pytest.mark.parametrize("ffn", FFNS)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_training_on_short_rows(attention, ffn):
    seen = trained(build(attention, ffn), SHORT)
    assert (seen[FUSED], seen[FUSED_BACKWARD]) == (LAYERS, LAYERS)
    assert not {ALL_SCORES, BLOCKED} & set(seen)
    # Two products forward, each with one for its input's and one for its weight's gradient.
    assert experts_of(seen) == (6 * MIXTURES if ffn == "moe" else 0)


@pytest.mark.parametrize("ffn", FFNS)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_training_on_long_rows(attention, ffn):
    seen = trained(build(attention, ffn, max_seq_len=LONG), LONG)
    assert (seen[BLOCKED], seen[BLOCKED_BACKWARD]) == (LAYERS, LAYERS)
    assert not {ALL_SCORES, FUSED} & set(seen)
    assert experts_of(seen) == (6 * MIXTURES if ffn == "moe" else 0)


def training_on_documents(attention, time):
    documents = torch.arange(time).div(15, rounding_mode="floor").expand(2, -1)
    return trained(build(attention, "dense", max_seq_len=LONG), time, document_BT=documents)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_training_on_short_rows_of_documents(attention):
    seen = training_on_documents(attention, SHORT)
    assert (seen[FUSED], seen[FUSED_BACKWARD]) == (LAYERS, LAYERS)
    assert not {ALL_SCORES, BLOCKED, BY_SEGMENT} & set(seen)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_training_on_long_rows_of_documents(attention):
    seen = training_on_documents(attention, LONG)
    assert (seen[BY_SEGMENT], seen[BY_SEGMENT_BACKWARD]) == (LAYERS, LAYERS)
    assert not {ALL_SCORES, BLOCKED, FUSED} & set(seen)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_training_in_16_bits(attention):
    model = build(attention, "moe", max_seq_len=LONG)
    apply(model, bf16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = trained(model, LONG)
    assert (seen[FUSED], seen[FUSED_BACKWARD]) == (LAYERS, LAYERS)
    assert ALL_SCORES not in seen


@pytest.mark.parametrize("ffn", FFNS)
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("rows", [1, 2])
def test_decoding_a_few_rows(attention, ffn, rows):
    seen = decoded(build(attention, ffn), rows)
    assert seen[FUSED] == LAYERS
    assert ALL_SCORES not in seen
    assert GROUPED not in seen, "a few rows are quicker one expert after the other"


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_decoding_many_rows(attention):
    seen = decoded(build(attention, "moe"), 32)
    assert seen[FUSED] == LAYERS
    assert ALL_SCORES not in seen
    assert experts_of(seen) == 2 * MIXTURES


@pytest.mark.parametrize("n_experts", [8, 64])
def test_more_experts_are_no_more_grouped_products(n_experts):
    seen = trained(build("mha", mixture(n_routed_experts=n_experts)), SHORT)
    assert experts_of(seen) == 6 * MIXTURES


@pytest.mark.parametrize("sheet", sorted(path.stem for path in (PROJECT_ROOT / "conf" / "model").glob("[!_]*.yaml")))
def test_the_experts_of_every_shipped_size_fit_the_grouped_kernel(sheet):
    """It wants rows of whole 16 bytes, in 16 bits too; else the products run one by one."""
    if sheet in ("base", "published"):
        pytest.skip("others build on it")
    register_resolvers()
    with Composer(PROJECT_ROOT / "conf", "train") as composer:
        config = read_model(task_config(composer.compose([f"model={sheet}", "attention=mla", "ffn=moe"])))
    assert isinstance(config.ffn, MixtureOfExperts.Config)
    hidden = config.ffn.moe_intermediate_size
    assert _kernel_takes(torch.empty(0, dtype=torch.bfloat16), config.dim, 2 * hidden, hidden)
