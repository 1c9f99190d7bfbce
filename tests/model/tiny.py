"""Tiny configs of every variant, and weights wild enough that a wrong step shows.

With DeepSeek's std of 0.006 a tiny network is close to the identity and would hide most mistakes:
here matrices are drawn wide enough that logits have a standard deviation near 1, and norms and biases
are no longer ones and zeros.
"""

import torch

from deepseek_lab.model.attention.grouped import GroupedAttention
from deepseek_lab.model.attention.latent import LatentAttention
from deepseek_lab.model.ffn.dense import DenseFeedForward
from deepseek_lab.model.ffn.moe import MixtureOfExperts
from deepseek_lab.model.mtp import MultiTokenPrediction
from deepseek_lab.model.rope import RopeConfig
from deepseek_lab.model.transformer import Transformer

DIM, VOCABULARY, HEADS, LAYERS = 64, 97, 4, 3
ATTENTIONS = ("mha", "gqa", "mqa", "mla")
FFNS = ("dense", "moe")
DEFAULT_ROPE = RopeConfig()


def grouped(n_kv_heads, **changes):
    return GroupedAttention.Config(n_heads=HEADS, n_kv_heads=n_kv_heads, **changes)


def latent(**changes):
    sizes = {
        "n_heads": HEADS, "q_lora_rank": 24, "kv_lora_rank": 20,
        "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 12,
    }  # fmt: skip
    return LatentAttention.Config(**(sizes | changes))


def attention_config(kind):
    return latent() if kind == "mla" else grouped({"mha": HEADS, "gqa": 2, "mqa": 1}[kind])


def mixture(**changes):
    sizes = {
        "moe_intermediate_size": 32, "n_shared_experts": 2, "n_dense_layers": 1, "intermediate_size": 80,
        "n_routed_experts": 8, "n_activated_experts": 3,
    }  # fmt: skip
    return MixtureOfExperts.Config(**(sizes | changes))


def ffn_config(kind):
    return DenseFeedForward.Config(intermediate_size=80) if kind == "dense" else mixture()


def config(attention="mla", ffn="moe", mtp=0, **changes):
    """A Transformer.Config; `attention` and `ffn` are kinds by name or Configs."""
    parts = {
        "dim": DIM, "n_layers": LAYERS, "vocab_size": VOCABULARY, "max_seq_len": 256, "init_std": 0.15,
        "rope": DEFAULT_ROPE,
        "attention": attention_config(attention) if isinstance(attention, str) else attention,
        "ffn": ffn_config(ffn) if isinstance(ffn, str) else ffn,
        "mtp": mtp if isinstance(mtp, MultiTokenPrediction.Config) else MultiTokenPrediction.Config(depth=mtp),
    }  # fmt: skip
    return Transformer.Config(**(parts | changes))


def build(*args, seed=0, dtype=torch.float32, **changes):
    """A model of `config(...)` with wild weights, deterministic in `seed`."""
    torch.manual_seed(seed)
    model = config(*args, **changes).build()
    roughen(model)
    return model.to(dtype)


@torch.no_grad()
def roughen(module):
    """Norm weights around 1, biases around 0 (selection biases too): none of them a neutral element."""
    for parameter in module.parameters():
        if parameter.ndim == 1:
            parameter.add_(0.3 * torch.randn_like(parameter))
    for name, buffer in module.named_buffers():
        if name.endswith(("selection_bias_E", "e_score_correction_bias")):
            buffer.add_(0.2 * torch.randn_like(buffer))


def tokens(batch, time, seed=1):
    return torch.randint(VOCABULARY, (batch, time), generator=torch.Generator().manual_seed(seed))
