"""The decoding step in as few operations as can be, for CPUs: `decode_one` without what only other callers need.

With a row or a few the arithmetic of a step is small, and calling some thousand operations is what takes the time.
Here one token a row goes through the weights of the modules, taken once: latent attention and the feed-forward
networks in lean forms (`latent`, `feed_forward`), any other part, and any that a precision recipe has replaced, by its
module. The modules stay the documentation: each lean form equals its module.

Left out: 16-bit types and accelerators, where `decode_one` runs, and several tokens a row (prefill, speculation).

Shapes: N rows, D width, V vocabulary, K experts a token.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_lab.generation.decoding import DecodeOne, decode_one
from deepseek_lab.generation.lean.feed_forward import LeanMixture, lean_dense
from deepseek_lab.generation.lean.latent import LeanLatent
from deepseek_lab.generation.lean.product import norm, product
from deepseek_lab.model.attention.interface import AttentionContext
from deepseek_lab.model.attention.latent import LatentAttention
from deepseek_lab.model.cache import Cache
from deepseek_lab.model.ffn.dense import DenseFeedForward
from deepseek_lab.model.ffn.moe import MixtureOfExperts
from deepseek_lab.model.linear import Linear, decoding
from deepseek_lab.model.positions import cached_context
from deepseek_lab.model.prepared import Prepared
from deepseek_lab.model.transformer import Transformer

Attend = Callable[[Tensor, AttentionContext, Tensor], Tensor]
FeedForward = Callable[[Tensor, list[Tensor] | None], Tensor]


class LeanStep:
    """A `decode_one` of one model, true as long as its weights do not change."""

    def __init__(self, model: Transformer, prepared: Prepared) -> None:
        self.prepared = prepared
        self.layers = [_lean_block(block, prepared) for block in model.blocks]
        self.final_norm, self.head = norm(model.final_norm), product(model.head, prepared.streams)

    @torch.inference_mode()
    def __call__(self, model: Transformer, token_B: Tensor, cache: Cache, noted: list[Tensor] | None = None) -> Tensor:
        """Feeds one token a row -> logits (N, V) of the next; `noted` takes each mixture layer's experts, (N, K)."""
        with decoding(self.prepared):
            context = cached_context(model.config.rope, model.rope_dim, token_B[:, None], None, cache)
            x_ND = F.embedding(token_B, model.embedding.weight)
            for layer, buffer in zip(self.layers, cache.layers, strict=True):
                x_ND = layer(x_ND, context, buffer, noted)
            return self.head(self.final_norm(x_ND))


def decode_one_of(model: Transformer, prepared: Prepared) -> DecodeOne:
    """The quickest step of a model as it is now: lean where it can be, else the plain one."""
    weight = model.embedding.weight
    # Of a sharded model the modules gather what they need; what lies outside the blocks may be whole already.
    whole = all(type(parameter) is nn.Parameter for parameter in model.parameters())
    lean = whole and weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.float64)
    return LeanStep(model, prepared) if lean and not torch.is_autocast_enabled("cpu") else decode_one


def _lean_block(block: Any, prepared: Prepared) -> Callable[..., Tensor]:
    attention_norm, ffn_norm = norm(block.attention_norm), norm(block.ffn_norm)
    attend, feed = _attention(block.attention, prepared), _feed_forward(block.ffn, prepared.streams)

    def call(x_ND: Tensor, context: AttentionContext, buffer: Tensor, noted: list[Tensor] | None) -> Tensor:
        x_ND = x_ND + attend(attention_norm(x_ND), context, buffer)
        return x_ND + feed(ffn_norm(x_ND), noted)

    return call


def _attention(attention: nn.Module, prepared: Prepared) -> Attend:
    if type(attention) is LatentAttention and type(attention.wkv_b) is Linear:
        return LeanLatent(attention, prepared)
    return lambda x_ND, context, buffer: attention(x_ND.unsqueeze(1), context, buffer).squeeze(1)


def _feed_forward(ffn: nn.Module, streams: bool) -> FeedForward:
    if type(ffn) is MixtureOfExperts:
        return LeanMixture(ffn, streams)
    dense = lean_dense(ffn, streams) if type(ffn) is DenseFeedForward else ffn
    return lambda x_ND, noted: dense(x_ND)
