"""The two small networks that post-training is measured with: 256 wide, 4 deep, over bytes; ours and transformers'.

`deepseek_v3`: MLA and a mixture of 8 experts, 2 a token and a shared one, behind one dense layer. `llama`: 8 query
heads over 2 of keys, dense throughout.
"""

from typing import Any, Literal

import torch

from deepseek_lab.model.attention.grouped import GroupedAttention
from deepseek_lab.model.attention.latent import LatentAttention
from deepseek_lab.model.ffn.dense import DenseFeedForward
from deepseek_lab.model.ffn.moe import MixtureOfExperts
from deepseek_lab.model.mtp import MultiTokenPrediction
from deepseek_lab.model.rope import RopeConfig
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.objectives.balance import Balance
from deepseek_lab.text.tokenizer import SMALLEST_VOCABULARY, Bytes

Shape = Literal["deepseek_v3", "llama"]
_LATENT: dict[str, Any] = {
    "q_lora_rank": 128,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "v_head_dim": 32,
}
_THEIRS: dict[str, Any] = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "vocab_size": SMALLEST_VOCABULARY,
    "intermediate_size": 704,
}
TRL_ARGUMENTS: dict[str, Any] = {
    "lr_scheduler_type": "constant",
    "optim": "adamw_torch_fused",
    "gradient_checkpointing": False,
    "bf16": False,
    "use_cpu": True,
    "report_to": [],
    "save_strategy": "no",
    "logging_strategy": "no",
    "disable_tqdm": True,
    "seed": 0,
}
"""Of a trainer of TRL that does what ours does, and nothing beside it."""


def our_network(shape: Shape, longest: int) -> Transformer:
    """Ours, with weights of its own."""
    mixture = MixtureOfExperts.Config(
        moe_intermediate_size=128,
        n_shared_experts=1,
        n_dense_layers=1,
        intermediate_size=704,
        n_routed_experts=8,
        n_activated_experts=2,
    )
    latent, grouped = LatentAttention.Config(n_heads=8, **_LATENT), GroupedAttention.Config(n_heads=8, n_kv_heads=2)
    v3 = shape == "deepseek_v3"
    return Transformer.Config(
        dim=256,
        n_layers=4,
        vocab_size=SMALLEST_VOCABULARY,
        max_seq_len=longest,
        rope=RopeConfig(),
        attention=latent if v3 else grouped,
        ffn=mixture if v3 else DenseFeedForward.Config(intermediate_size=704),
        mtp=MultiTokenPrediction.Config(),
    ).build()


def their_network(shape: Shape, longest: int) -> Any:
    """transformers', with weights of seed 0."""
    torch.manual_seed(0)
    return _their_v3(longest) if shape == "deepseek_v3" else _their_llama(longest)


def their_tokenizer() -> Any:
    """Our bytes in their class."""
    import transformers

    inner = Bytes.Config().build()
    fast: Any = transformers.PreTrainedTokenizerFast
    names = {"eos_token": inner.decode([inner.eos_id]), "pad_token": "<｜▁pad▁｜>"}
    return fast(tokenizer_object=inner._inner, **names)


def no_balance() -> Balance:
    """Neither losses nor a rule of the selection biases: transformers has none."""
    names = ("sequence_wise_alpha", "batch_wise_alpha", "expert_alpha", "device_alpha", "communication_alpha")
    off: dict[str, float] = dict.fromkeys(("bias_update_speed", *names), 0.0)
    return Balance(**off, bias_update_until=1.0, n_devices=1, n_limited_devices=1)


def _their_v3(longest: int) -> Any:
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    config = DeepseekV3Config(
        **_LATENT,
        **_THEIRS,
        num_key_value_heads=8,
        max_position_embeddings=longest,
        moe_intermediate_size=128,
        n_routed_experts=8,
        num_experts_per_tok=2,
        n_shared_experts=1,
        first_k_dense_replace=1,
        n_group=1,
        topk_group=1,
        routed_scaling_factor=1.0,
    )
    return DeepseekV3ForCausalLM(config)


def _their_llama(longest: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**_THEIRS, num_key_value_heads=2, max_position_embeddings=longest, tie_word_embeddings=False)
    return LlamaForCausalLM(config)
