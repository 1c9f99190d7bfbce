"""Hugging Face folders of tiny random networks, written by transformers itself; MTP layers are added by hand.

Weights are wild (see tests/model/tiny): with the usual initialisation a wrong step would not show.
"""

import json
import random

import torch
import transformers
from safetensors.torch import load_file, save_file

from tests.model.tiny import roughen

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

VOCABULARY = 97
BASE = {
    "vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 80, "initializer_range": 0.15, "max_position_embeddings": 256,
}  # fmt: skip
MLA = {
    "q_lora_rank": 24, "kv_lora_rank": 20, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 12,
    "moe_intermediate_size": 32, "n_shared_experts": 2, "n_routed_experts": 8, "num_experts_per_tok": 3,
    "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "routed_scaling_factor": 1.0,
}  # fmt: skip
# Ramps that lie inside the few frequencies of a tiny head; factor 8 makes the temperature matter.
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 32,
        "beta_fast": 4.0, "beta_slow": 1.0}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 64,
          "low_freq_factor": 1.0, "high_freq_factor": 4.0}  # fmt: skip
CLASSES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "deepseek_v2": (transformers.DeepseekV2Config, transformers.DeepseekV2ForCausalLM),
    "deepseek_v3": (transformers.DeepseekV3Config, transformers.DeepseekV3ForCausalLM),
}


def theirs_of(kind, seed=3, **changes):
    """A transformers model of `kind`, with wild weights."""
    config, model = CLASSES[kind]
    sizes = BASE | (MLA if kind.startswith("deepseek") else {}) | changes
    torch.manual_seed(seed)
    built = model(config(**sizes)).eval()
    roughen(built)
    return built


def write(model, folder, **saving):
    """Saves it as transformers does; gives the folder."""
    model.save_pretrained(folder, **saving)
    return folder


def write_with_mtp(folder, depth=1, copies=True, **changes):
    """A V3 folder whose last `depth` layers are MTP modules, under the names of the released checkpoint."""
    layers = BASE["num_hidden_layers"]
    write(theirs_of("deepseek_v3", **changes, num_hidden_layers=layers + depth), folder)
    edit_config(folder, num_hidden_layers=layers, num_nextn_predict_layers=depth)
    tensors = load_file(folder / "model.safetensors")
    width = tensors["model.norm.weight"].shape[0]
    for layer in range(layers, layers + depth):
        prefix = f"model.layers.{layer}."
        for name in ("enorm", "hnorm", "shared_head.norm"):
            tensors[f"{prefix}{name}.weight"] = 1 + 0.3 * torch.randn(width)
        tensors[f"{prefix}eh_proj.weight"] = 0.15 * torch.randn(width, 2 * width)
        if copies:
            tensors[f"{prefix}embed_tokens.weight"] = tensors["model.embed_tokens.weight"].clone()
            tensors[f"{prefix}shared_head.head.weight"] = tensors["lm_head.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def edit_config(folder, **changes):
    """Changes values of config.json; `...` removes."""
    path = folder / "config.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in values.items() if value is not ...}))


def tensors_of(folder):
    """Every tensor of a folder, read by the safetensors library."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


def random_case(seed):
    """A kind and config changes, drawn from everything that the published families vary."""
    draw = random.Random(seed)
    kind = draw.choice(list(CLASSES))
    heads, layers = draw.choice([2, 4, 8]), draw.choice([1, 2, 3])
    changes = {
        "hidden_size": draw.choice([32, 48, 64]), "num_attention_heads": heads, "num_hidden_layers": layers,
        "intermediate_size": draw.choice([40, 72]), "rms_norm_eps": draw.choice([1e-6, 1e-5, 1e-3]),
        "tie_word_embeddings": draw.random() < 0.3, "initializer_range": 0.17,
        "vocab_size": draw.choice([97, 130]), "rope_parameters": _random_rope(draw),
    }  # fmt: skip
    if kind in ("llama", "qwen2"):
        changes["num_key_value_heads"] = draw.choice([n for n in (1, 2, 4, 8) if heads % n == 0])
        if kind == "llama" and draw.random() < 0.5:
            changes |= {"attention_bias": draw.random() < 0.5, "mlp_bias": draw.random() < 0.5}
        if kind == "llama" and draw.random() < 0.4:
            changes["head_dim"] = draw.choice([8, 24])
        return kind, changes
    groups = draw.choice([1, 1, 2, 4])
    changes |= {
        "num_key_value_heads": heads, "q_lora_rank": draw.choice([None, 16]), "kv_lora_rank": draw.choice([10, 16]),
        "qk_nope_head_dim": draw.choice([8, 12]), "qk_rope_head_dim": draw.choice([4, 8]),
        "v_head_dim": draw.choice([8, 14]), "n_shared_experts": draw.choice([1, 2]), "n_group": groups,
        "topk_group": draw.randint(1, groups), "n_routed_experts": 8, "num_experts_per_tok": draw.choice([1, 2]),
        "first_k_dense_replace": draw.choice([0, 1, layers]), "routed_scaling_factor": draw.choice([1.0, 2.5]),
        "attention_bias": draw.random() < 0.3, "moe_intermediate_size": draw.choice([16, 24]),
    }  # fmt: skip
    if kind == "deepseek_v2":
        return kind, changes | {"topk_method": "group_limited_greedy" if groups > 1 else "greedy"}
    return kind, changes | {"rope_interleave": draw.random() < 0.6, "norm_topk_prob": draw.random() < 0.7}


def _random_rope(draw):
    theta = draw.choice([500.0, 10000.0, 1e6])
    mscales = draw.choice([{}, {"mscale": 0.707, "mscale_all_dim": 0.707}, {"mscale": 1.0, "mscale_all_dim": 0.4},
                           {"mscale": 0.707}, {"mscale_all_dim": 0.7}, {"attention_factor": 1.3}])  # fmt: skip
    rope = draw.choice([{"rope_type": "default"}, LINEAR, LLAMA3, YARN | mscales, YARN | {"truncate": False}])
    return rope | {"rope_theta": theta}
