"""Implementations of one DeepSeek-V3 or Llama, each with the training step that its users run.

Ours: the Transformer, the chunked head loss, fused AdamW. Theirs: transformers' DeepseekV3ForCausalLM or
LlamaForCausalLM with its defaults (SDPA attention, grouped experts) and AdamW as `torch.optim.AdamW` comes, or fused.
litgpt's: its GPT and AdamW fused. Same sizes, same weights, same tokens, same loss (mean next-token cross entropy),
same clipping, fp32.

Left out: the balance rules, data loading and logging, which the other side does not have.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deepseek_lab.benchmarking.litgpt_network import litgpt_network
from deepseek_lab.benchmarking.published_weights import copy_weights
from deepseek_lab.model.attention.grouped import GroupedAttention
from deepseek_lab.model.attention.latent import LatentAttention
from deepseek_lab.model.compiled import compile_blocks
from deepseek_lab.model.ffn.dense import DenseFeedForward
from deepseek_lab.model.ffn.moe import MixtureOfExperts
from deepseek_lab.model.mtp import MultiTokenPrediction
from deepseek_lab.model.rope import RopeConfig
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.objectives.next_token import chunked_cross_entropy

Step = Callable[[Tensor], float]

_DIM, _LAYERS, _HEADS, _KEY_VALUE_HEADS, _VOCABULARY = 512, 8, 8, 2, 8192
_DENSE_SIZE, _EXPERT_SIZE, _CHOSEN, _SHARED, _DENSE_LAYERS = 1408, 256, 4, 1, 1
_LATENT: dict[str, Any] = {
    "q_lora_rank": 256,
    "kv_lora_rank": 128,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
}
_OPTIMIZER: dict[str, Any] = {"lr": 3e-4, "betas": (0.9, 0.95), "weight_decay": 0.1}


@dataclass(frozen=True)
class Workload:
    """One row of the comparison: `batch` rows of `seq_len` tokens over `n_experts` routed experts.

    Without experts it is a Llama: grouped queries and a dense FFN, as in DeepSeek LLM.
    """

    name: str
    batch: int
    seq_len: int
    n_experts: int

    @property
    def tokens_per_step(self) -> int:
        return self.batch * self.seq_len

    def tokens_BT1(self, step: int) -> Tensor:
        """The tokens of a step, one more than positions; common ids far likelier than rare ones."""
        generator = torch.Generator().manual_seed(step)
        likelihood_V = 1.0 / torch.arange(1.0, _VOCABULARY + 1)
        drawn = torch.multinomial(likelihood_V, self.batch * (self.seq_len + 1), replacement=True, generator=generator)
        return drawn.view(self.batch, self.seq_len + 1)


def our_model(workload: Workload) -> Transformer:
    """Our network of the workload's sizes."""
    latent = LatentAttention.Config(n_heads=_HEADS, **_LATENT)
    grouped = GroupedAttention.Config(n_heads=_HEADS, n_kv_heads=_KEY_VALUE_HEADS)
    config = Transformer.Config(
        dim=_DIM,
        n_layers=_LAYERS,
        vocab_size=_VOCABULARY,
        rope=RopeConfig(),
        attention=latent if workload.n_experts else grouped,
        ffn=_mixture(workload) if workload.n_experts else DenseFeedForward.Config(intermediate_size=_DENSE_SIZE),
        mtp=MultiTokenPrediction.Config(),
    )
    return config.build()


def _mixture(workload: Workload) -> MixtureOfExperts.Config:
    return MixtureOfExperts.Config(
        moe_intermediate_size=_EXPERT_SIZE,
        n_shared_experts=_SHARED,
        n_dense_layers=_DENSE_LAYERS,
        intermediate_size=_DENSE_SIZE,
        n_routed_experts=workload.n_experts,
        n_activated_experts=_CHOSEN,
    )


def their_model(workload: Workload) -> Any:
    """transformers' network of the same sizes, weights drawn from seed 0."""
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": _DIM,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "vocab_size": _VOCABULARY,
        "intermediate_size": _DENSE_SIZE,
        "initializer_range": 0.006,
    }
    if not workload.n_experts:
        return LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=_KEY_VALUE_HEADS))
    config = DeepseekV3Config(
        **sizes,
        **_LATENT,
        num_key_value_heads=_HEADS,
        moe_intermediate_size=_EXPERT_SIZE,
        n_routed_experts=workload.n_experts,
        num_experts_per_tok=_CHOSEN,
        n_shared_experts=_SHARED,
        first_k_dense_replace=_DENSE_LAYERS,
        n_group=1,
        topk_group=1,
        routed_scaling_factor=1.0,
    )
    return DeepseekV3ForCausalLM(config)


def our_step(workload: Workload, compiled: bool = False) -> tuple[Step, Transformer]:
    """Our training step, starting from their weights, and the model it trains; its blocks compiled if asked."""
    model = our_model(workload)
    copy_weights(their_model(workload), model)
    if compiled:
        compile_blocks(model)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True, **_OPTIMIZER)
    share_N = torch.full((workload.tokens_per_step,), 1 / workload.tokens_per_step)

    def step(tokens_BT1: Tensor) -> float:
        hidden_ND = model(tokens_BT1[:, :-1]).hidden_BTD.flatten(0, 1)
        loss, _ = chunked_cross_entropy(hidden_ND, model.head_weight_VD, tokens_BT1[:, 1:].flatten(), share_N)
        return _finish(loss, model, optimizer)

    return step, model


def their_step(workload: Workload, fused: bool) -> Step:
    """Their training step; without `fused` AdamW is as torch gives it."""
    model = their_model(workload).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True if fused else None, **_OPTIMIZER)

    def step(tokens_BT1: Tensor) -> float:
        targets_BT = tokens_BT1[:, 1:].contiguous()
        output = model(tokens_BT1[:, :-1], labels=targets_BT, shift_labels=targets_BT, use_cache=False)
        return _finish(output.loss, model, optimizer)

    return step


def litgpt_step(workload: Workload) -> Step:
    """litgpt's training step, starting from transformers' weights. Raises ImportError where it is not installed."""
    model = litgpt_network(their_model(workload), workload.seq_len).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True, **_OPTIMIZER)

    def step(tokens_BT1: Tensor) -> float:
        logits_BTV = model(tokens_BT1[:, :-1])
        loss = nn.functional.cross_entropy(logits_BTV.flatten(0, 1), tokens_BT1[:, 1:].flatten())
        return _finish(loss, model, optimizer)

    return step


def _finish(loss: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()
