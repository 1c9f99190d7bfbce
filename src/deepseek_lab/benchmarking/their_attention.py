"""transformers' MLA layer decoding one token behind a context that its own cache holds, with our layer's weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from deepseek_lab.benchmarking.contestants import Workload, their_model
from deepseek_lab.benchmarking.published_weights import copy_weights
from deepseek_lab.model.transformer import Transformer


def their_network_of(workload: Workload, ours: Transformer) -> Any:
    """Their network, whose weights `ours` gets; it learns no more."""
    theirs = their_model(workload).eval().requires_grad_(False)
    copy_weights(theirs, ours)
    return theirs


def their_attention_step(theirs: Any, x_B1D: Tensor, cache_BSX: Tensor) -> Callable[[], Tensor]:
    """The step of the last of S tokens: the latents of those before it lie in a `DynamicCache`, as `generate` has it.

    Shapes: cache_BSX (B, S, C + R), the last place unused.
    """
    from transformers import DynamicCache

    layer, last = theirs.model.layers[0].self_attn, cache_BSX.shape[1] - 1
    latent_BSC, k_pe_BSR = cache_BSX[:, :last].split((layer.kv_lora_rank, layer.qk_rope_head_dim), -1)
    kept = [x.unsqueeze(1).contiguous() for x in (latent_BSC, _halves(k_pe_BSR))]
    rotation = theirs.model.rotary_emb(x_B1D, torch.tensor([[last]]))
    cache = DynamicCache(config=theirs.config)
    cache.update(kept[0], kept[1], layer.layer_idx)

    def step() -> Tensor:
        cache.layers[layer.layer_idx].keys, cache.layers[layer.layer_idx].values = kept
        out_B1D: Tensor = layer(x_B1D, rotation, None, cache)[0]
        return out_B1D

    return step


def _halves(x_BSR: Tensor) -> Tensor:
    """First and second of each pair that is turned: they keep keys so, where ours lie pair by pair."""
    halves_BSR: Tensor = x_BSR.unflatten(-1, (-1, 2)).mT.flatten(-2)
    return halves_BSR
