"""The network: embedding, pre-norm blocks, final norm, head, and MTP modules behind it.

One class for every DeepSeek of the series: the parts are configs (`attention`, `ffn`, `mtp`) that build
their own modules, so nothing here knows which variant runs. The Transformer owns positions and
masks; layers receive them in an AttentionContext.

Left out: losses, precision, activation checkpointing and parallelism, which are applied from outside.

Shapes: B batch, T new tokens, S keys, D width, V vocabulary, L mixture layers, K experts a token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from deepseek_lab.config import CheckedConfig
from deepseek_lab.model.attention.interface import AttentionContext
from deepseek_lab.model.attention.segments import Segment
from deepseek_lab.model.block import Block
from deepseek_lab.model.cache import Cache
from deepseek_lab.model.ffn.moe import MixtureOfExperts
from deepseek_lab.model.initialise import initialise
from deepseek_lab.model.linear import Linear
from deepseek_lab.model.mtp import MultiTokenPrediction
from deepseek_lab.model.norm import RMSNorm
from deepseek_lab.model.output import ModelOutput, RoutingStatistics
from deepseek_lab.model.positions import cached_context, fresh_context, segments_context
from deepseek_lab.model.rope import RopeConfig


class Transformer(nn.Module):
    """A DeepSeek language model; `Transformer.Config(...).build()` makes one with fresh weights."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        """`attention` and `ffn` are Configs with a `build` (see AttentionConfig, FeedForwardConfig)."""

        dim: int
        n_layers: int
        vocab_size: int
        max_seq_len: int = 4096
        norm_eps: float = 1e-6
        init_std: float = 0.006
        tie_embeddings: bool = False
        rope: RopeConfig
        attention: Any
        ffn: Any
        mtp: MultiTokenPrediction.Config

        def check(self) -> None:
            self.require_positive("dim", "n_layers", "vocab_size", "max_seq_len")

        def build(self) -> "Transformer":
            """A model on torch's default device (`meta` included), weights drawn from its generator."""
            return Transformer(self)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.rope_dim: int = config.attention.rope_dim_at(config.dim)
        self.embedding = nn.Embedding(config.vocab_size, config.dim)
        self.blocks = nn.ModuleList(self._block(i) for i in range(config.n_layers))
        self.final_norm = RMSNorm(config.dim, config.norm_eps)
        self.head = Linear(config.dim, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.head.weight = self.embedding.weight
        self.mtp = nn.ModuleList(
            MultiTokenPrediction(config.mtp, config.dim, config.norm_eps, self._block(config.n_layers + k))
            for k in range(config.mtp.depth)
        )
        initialise(self, config.init_std)

    def _block(self, layer_index: int) -> Block:
        c = self.config
        return Block(c.dim, layer_index, c.attention, c.ffn, c.rope, c.norm_eps)

    @property
    def head_weight_VD(self) -> Tensor:
        """The head's matrix (the embedding's when tied)."""
        return self.head.weight

    def routers(self) -> list[nn.Module]:
        """The routers of all mixture layers, in the order of `ModelOutput.routing` (MTP blocks last)."""
        return [m.router for m in self.modules() if isinstance(m, MixtureOfExperts)]

    def new_cache(self, batch: int, max_len: int) -> Cache:
        """An empty cache for `batch` rows of up to `max_len` tokens, in the weights' dtype and device."""
        shapes = [block.attention.cache_shape() for block in self.blocks]  # type: ignore[union-attr,operator]
        weight = self.embedding.weight
        return Cache(shapes, batch, max_len, weight.dtype, weight.device)

    def forward(
        self,
        input_ids_BT: Tensor,
        document_BT: Tensor | None = None,
        valid_BT: Tensor | None = None,
        cache: Cache | None = None,
        mtp: bool = False,
        chosen_BTLK: Tensor | None = None,
        segments: Sequence[Segment] | None = None,
    ) -> ModelOutput:
        """(B, T) token ids -> ModelOutput.

        document_BT: (B, T) ints; when given, a token sees only tokens of its own document.
        valid_BT: (B, T) bool; False marks padding on either side, which is never seen or cached.
        cache: continues from what it holds and grows by the valid tokens.
        mtp: also run the MTP modules (training; not with a cache).
        chosen_BTLK: experts that the mixture layers of the blocks use instead of choosing (routing replay).
        segments: what the tokens of a single row see, and by it their positions (answers that share a prompt); with
            none of the others but `chosen_BTLK`, and without MTP modules, for which the last tokens of a prompt
            have a successor in each answer.
        """
        if segments is not None:
            if mtp or any(given is not None for given in (document_BT, valid_BT, cache)):
                raise ValueError("segments go with neither documents, padding, a cache nor MTP modules")
            context = segments_context(self.config.rope, self.rope_dim, segments, input_ids_BT.device)
        elif cache is None:
            context = fresh_context(self.config.rope, self.rope_dim, input_ids_BT, document_BT, valid_BT)
        else:
            context = cached_context(self.config.rope, self.rope_dim, input_ids_BT, valid_BT, cache)
        embedding_BTD = self.embedding(input_ids_BT)
        x_BTD, routing = embedding_BTD, []
        given_L = iter(() if chosen_BTLK is None else chosen_BTLK.unbind(2))
        for i, block in enumerate(self.blocks):
            layer = None if cache is None else cache.layers[i]
            given = next(given_L, None) if isinstance(block.ffn, MixtureOfExperts) else None
            x_BTD, statistics = block(x_BTD, context, layer, given)
            routing += [] if statistics is None else [replace(statistics, layer=i)]
        hidden_BTD = self.final_norm(x_BTD)
        source_BTD = hidden_BTD if self.config.mtp.hidden == "final_norm" else x_BTD
        states: list[Tensor] = []
        if mtp and len(self.mtp):
            states = self._predict_further(source_BTD, embedding_BTD, context, routing)
        return ModelOutput(hidden_BTD, self.head_weight_VD, source_BTD, states, routing)

    def new_mtp_cache(self, depth: int, batch: int, max_len: int) -> Cache:
        """An empty cache of the MTP module of a depth (from 1), as `new_cache`."""
        module, weight = self.mtp[depth - 1], self.embedding.weight
        shape = module.block.attention.cache_shape()  # type: ignore[union-attr,operator]
        return Cache([shape], batch, max_len, weight.dtype, weight.device)

    def draft(
        self,
        depth: int,
        hidden_BTD: Tensor,
        input_ids_BT: Tensor,
        cache: Cache,
        valid_BT: Tensor | None = None,
    ) -> Tensor:
        """States of depth k-1 and the tokens k positions on, both (B, T) -> states of depth k, through its cache.

        The state at position i predicts token i + k + 1. For depth 1 the first states are `mtp_source_BTD`.
        """
        context = cached_context(self.config.rope, self.rope_dim, input_ids_BT, valid_BT, cache)
        state_BTD: Tensor = self.mtp[depth - 1](hidden_BTD, self.embedding(input_ids_BT), context, cache.layers[0])[0]
        return state_BTD

    def _predict_further(
        self, hidden_BTD: Tensor, embedding_BTD: Tensor, context: AttentionContext, routing: list[RoutingStatistics]
    ) -> list[Tensor]:
        states = []
        for depth, module in enumerate(self.mtp, start=1):
            length = embedding_BTD.shape[1] - depth
            hidden_BTD, statistics = module(hidden_BTD[:, :length], embedding_BTD[:, depth:], context.cut(length))
            states.append(hidden_BTD)
            layer = self.config.n_layers + depth - 1
            routing += [] if statistics is None else [replace(statistics, layer=layer)]
        return states
