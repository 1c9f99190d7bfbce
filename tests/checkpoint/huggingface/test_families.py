"""Families without a class of transformers for the text alone: DeepSeekMoE 16B, DeepSeek-VL's language model."""

import json

import pytest
import torch
import transformers
from safetensors.torch import save_file
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Moe

from deepseek_lab.checkpoint.huggingface import load_pretrained, save_pretrained
from deepseek_lab.checkpoint.huggingface.families import ARCHITECTURES
from deepseek_lab.checkpoint.huggingface.published_config import published_config
from deepseek_lab.checkpoint.huggingface.source import Source
from deepseek_lab.command_line import PROJECT_ROOT, register_resolvers
from deepseek_lab.command_line.composition import Composer
from deepseek_lab.command_line.jobs import task_config
from deepseek_lab.config import DataError
from deepseek_lab.experiment.configs import read_model
from tests.model.tiny import roughen
from tests.published_folders import BASE, MLA, edit_config, tensors_of, theirs_of, write

# As in deepseek-ai/deepseek-moe-16b-chat, but for the sizes.
MOE_16B = {
    "architectures": ["DeepseekForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
    "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekConfig",
                 "AutoModelForCausalLM": "deepseek-ai/deepseek-moe-16b-base--modeling_deepseek.DeepseekForCausalLM"},
    "aux_loss_alpha": 0.001, "bos_token_id": 100000, "eos_token_id": 100001, "first_k_dense_replace": 1,
    "hidden_act": "silu", "hidden_size": 64, "initializer_range": 0.02, "intermediate_size": 80,
    "max_position_embeddings": 256, "model_type": "deepseek", "moe_intermediate_size": 32, "moe_layer_freq": 1,
    "n_routed_experts": 8, "n_shared_experts": 2, "norm_topk_prob": False, "num_attention_heads": 4,
    "num_experts_per_tok": 3, "num_hidden_layers": 3, "num_key_value_heads": 4, "pretraining_tp": 1,
    "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 10000, "scoring_func": "softmax", "seq_aux": True,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 97,
}  # fmt: skip


def moe_16b(folder):
    """Its network put together from transformers' parts (Llama's attention, V2's mixture), and its folder."""
    theirs = theirs_of("llama")
    sizes = transformers.DeepseekV2Config(**BASE, **MLA, topk_method="greedy")
    for layer in theirs.model.layers[1:]:
        layer.mlp = DeepseekV2Moe(sizes).eval()
        for parameter in layer.mlp.parameters():
            torch.nn.init.normal_(parameter, std=0.15)
    roughen(theirs)
    tensors = {}
    for name, tensor in theirs.state_dict().items():
        if name.endswith("experts.gate_up_proj"):
            for expert, both in enumerate(tensor):
                for part, half in zip(("gate", "up"), both.chunk(2), strict=True):
                    tensors[name.replace("gate_up_proj", f"{expert}.{part}_proj.weight")] = half.contiguous()
        elif name.endswith("experts.down_proj"):
            for expert, one in enumerate(tensor):
                tensors[name.replace("down_proj", f"{expert}.down_proj.weight")] = one.contiguous()
        else:
            tensors[name] = tensor
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(MOE_16B))
    return theirs


def test_deepseek_moe_16b(tmp_path):
    theirs = moe_16b(tmp_path)
    ours = load_pretrained(tmp_path)
    ids_BT = torch.randint(97, (2, 40))
    with torch.no_grad():
        wanted = theirs(ids_BT).logits
        torch.testing.assert_close(ours(ids_BT).logits, wanted, atol=1e-4, rtol=0)
    save_pretrained(ours, tmp_path / "back")
    before, after = tensors_of(tmp_path), tensors_of(tmp_path / "back")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert json.loads((tmp_path / "back" / "config.json").read_text())["model_type"] == "deepseek"


def as_multi_modality(folder):
    """A Llama folder as the language model of DeepSeek's own VL form."""
    values = json.loads((folder / "config.json").read_text())
    del values["num_key_value_heads"], values["model_type"]  # left to LlamaConfig, as in VL 7B
    tensors = {f"language_model.{name}": tensor for name, tensor in tensors_of(folder).items()}
    tensors |= {"vision_model.blocks.0.weight": torch.ones(3), "aligner.layers.0.bias": torch.ones(2)}
    save_file(tensors, folder / "model.safetensors")
    whole = {"model_type": "multi_modality", "language_config": values, "vision_config": {"cls": "CLIPVisionTower"}}
    (folder / "config.json").write_text(json.dumps(whole))


def test_the_language_model_inside_deepseek_vl(tmp_path):
    theirs = theirs_of("llama")
    write(theirs, tmp_path)
    as_multi_modality(tmp_path)
    ours = load_pretrained(tmp_path)
    assert torch.equal(ours.blocks[2].ffn.down.weight, theirs.model.layers[2].mlp.down_proj.weight)
    assert torch.equal(ours.head.weight, theirs.lm_head.weight)
    assert Source(tmp_path).compare().passed_over == ["aligner.layers.0.bias", "vision_model.blocks.0.weight"]
    edit_config(tmp_path, language_config=...)
    with pytest.raises(DataError, match="without language_config"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("tied", [True, False])
def test_the_same_as_transformers_saves_it(tied, tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 20}
    published = transformers.DeepseekVLConfig(
        text_config={"model_type": "llama", "vocab_size": 60, **sizes},
        vision_config={"image_size": 32, "patch_size": 16, **sizes},
        tie_word_embeddings=tied,
    )
    theirs = transformers.DeepseekVLForConditionalGeneration(published).eval()
    theirs.save_pretrained(tmp_path)
    ids_BT = torch.arange(20)[None]
    with torch.no_grad():
        wanted = theirs(input_ids=ids_BT).logits
        torch.testing.assert_close(load_pretrained(tmp_path)(ids_BT).logits, wanted, atol=1e-5, rtol=0)


EXPERIMENTS = {
    "deepseek_llm_7b": "llama", "deepseek_coder_33b": "llama", "deepseek_moe_16b": "deepseek",
    "deepseek_v2_lite": "deepseek_v2", "deepseek_v2": "deepseek_v2", "deepseek_v3": "deepseek_v3",
    "r1_distill_qwen_7b": "qwen2", "r1_distill_llama_8b": "llama", "mini_v3": "deepseek_v3",
}  # fmt: skip


@pytest.fixture(scope="module")
def composer():
    register_resolvers()
    with Composer(PROJECT_ROOT / "conf", "train") as composer:
        yield composer


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_networks_of_the_experiments_have_the_classes_they_are_named_for(composer, experiment):
    config = read_model(task_config(composer.compose([f"experiment={experiment}"])))
    written = published_config(config)
    assert written["model_type"] == EXPERIMENTS[experiment]
    assert written["architectures"] == [ARCHITECTURES[EXPERIMENTS[experiment]]]
