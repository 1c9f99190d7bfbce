"""Greedy tokens of the engine equal `transformers.generate` on the same random weights.

Rounding may part two texts for good where the two likeliest tokens lie within 1e-4; nowhere else.
"""

import pytest
import torch
from transformers import (
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from deepseek_lab.benchmarking.published_weights import copy_weights
from deepseek_lab.generation import Engine, Request
from tests.model.test_published import BASE, DEEPSEEK, transformers_model
from tests.model.tiny import VOCABULARY, build, grouped, latent, mixture

GAP = 1e-4
LENGTH = 24
PAIRS = {
    "llama": (LlamaForCausalLM, LlamaConfig(**BASE, num_key_value_heads=2), lambda: build(grouped(2), "dense")),
    "qwen2": (
        Qwen2ForCausalLM,
        Qwen2Config(**BASE, num_key_value_heads=2),
        lambda: build(grouped(2, qkv_bias=True), "dense"),
    ),
    "deepseek_v2": (
        DeepseekV2ForCausalLM,
        DeepseekV2Config(**DEEPSEEK),
        lambda: build(latent(), mixture(router="softmax", norm_topk_prob=False)),
    ),
    "deepseek_v3": (DeepseekV3ForCausalLM, DeepseekV3Config(**DEEPSEEK), build),
}


def generated(theirs, prompt):
    """Greedy, one prompt, never stopping."""
    ids = theirs.generate(torch.tensor([prompt]), max_new_tokens=LENGTH, do_sample=False, eos_token_id=-1)
    return ids[0, len(prompt) :].tolist()


def gap(model, ids):
    """How far the two likeliest next tokens lie apart."""
    with torch.no_grad():
        first, second = model(torch.tensor([ids])).logits[0, -1].topk(2).values.tolist()
    return first - second


@pytest.mark.parametrize("kind", PAIRS)
def test_greedy_tokens_equal_those_of_transformers(kind):
    family, published, ours = PAIRS[kind]
    theirs, model = transformers_model(family, published), ours()
    copy_weights(theirs, model)
    source = torch.Generator().manual_seed(5)
    prompts = [torch.randint(VOCABULARY, (n,), generator=source).tolist() for n in (3, 17, 8, 1, 30)]
    answers = Engine(model, max_rows=3).run([Request(prompt=p, max_new_tokens=LENGTH) for p in prompts])
    for prompt, (answer,) in zip(prompts, answers, strict=True):
        wanted = generated(theirs, prompt)
        agreed = next((i for i, pair in enumerate(zip(answer.ids, wanted, strict=True)) if len(set(pair)) > 1), LENGTH)
        assert agreed == LENGTH or gap(model, [*prompt, *wanted[:agreed]]) < GAP
    assert len(set(answers[1][0].ids)) > 3, "a text that says one thing over and over proves little"
