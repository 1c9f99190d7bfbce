"""Parameters, cache numbers and FLOPs of a model, read off the built module (on `meta` too).

- *total* counts every parameter of the main model once (tied ones once, MTP modules apart);
- *active* leaves out the routed experts a token does not reach; it counts the embedding table, which
  papers do or do not: `active_no_embedding` is the other convention;
- *FLOPs a token* of training = 6 · active matmul weights (2 forward, 4 backward) + causal attention,
  half of the T×T products. The embedding is a look-up, so it is free; the head runs once more for
  each MTP depth.

Selection biases and other buffers are in no count.
"""

from dataclasses import dataclass

from torch import nn

from deepseek_lab.model.attention.interface import Attention
from deepseek_lab.model.ffn.experts import Experts
from deepseek_lab.model.ffn.moe import MixtureOfExperts
from deepseek_lab.model.transformer import Transformer


@dataclass(frozen=True)
class Counts:
    """Sizes of one model; cache numbers are over all layers, FLOPs for training at `seq_len`."""

    total_params: int
    active_params: int
    active_params_no_embedding: int
    mtp_params: int
    kv_cache_elements_per_token: int
    flops_per_token: float


def _n_params(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _idle_params(module: nn.Module) -> int:
    """Parameters of the routed experts that a token does not reach."""
    idle = 0
    for mixture in (m for m in module.modules() if isinstance(m, MixtureOfExperts)):
        config = mixture.config
        unreached = config.n_routed_experts - config.n_activated_experts
        idle += _n_params(mixture.experts) // config.n_routed_experts * unreached
    return idle


def _matmul_params(module: nn.Module) -> int:
    """Active weights that take part in a matrix product: linears, experts, routers."""
    weights = sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Linear))
    weights += sum(_n_params(m) for m in module.modules() if isinstance(m, Experts))
    weights += sum(m.router.weight.numel() for m in module.modules() if isinstance(m, MixtureOfExperts))
    return weights - _idle_params(module)


def _attention_flops(module: nn.Module, seq_len: int) -> float:
    """Forward and backward FLOPs a token of the T×T products, causal half."""
    width = sum(m.score_and_value_width() for m in module.modules() if isinstance(m, Attention))
    return 3 * 2 * width * (seq_len + 1) / 2


def kv_cache_elements_per_token(model: Transformer) -> int:
    """Numbers that all layers' caches keep for one token (V2 Table 1)."""
    cache = model.new_cache(1, 1)
    return sum(layer.numel() for layer in cache.layers)


def flops_per_token(model: Transformer, seq_len: int) -> float:
    """Training FLOPs a token at sequence length `seq_len`, MTP modules included."""
    flops = 6.0 * _matmul_params(model) + _attention_flops(model, seq_len)
    return flops + 6.0 * len(model.mtp) * model.head_weight_VD.numel()


def count(model: Transformer, seq_len: int) -> Counts:
    """All counts of a built model."""
    mtp = _n_params(model.mtp)
    total = _n_params(model) - mtp
    active = total - (_idle_params(model) - _idle_params(model.mtp))
    return Counts(
        total_params=total,
        active_params=active,
        active_params_no_embedding=active - model.embedding.weight.numel(),
        mtp_params=mtp,
        kv_cache_elements_per_token=kv_cache_elements_per_token(model),
        flops_per_token=flops_per_token(model, seq_len),
    )
