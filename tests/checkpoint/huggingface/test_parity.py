"""What transformers saved computes the same here, and what is saved here is the same file and model there."""

import json

import pytest
import torch
import transformers
from safetensors.torch import save_file

from deepseek_lab.checkpoint.huggingface import load_pretrained, save_pretrained
from deepseek_lab.config import DataError
from deepseek_lab.generation import generate
from tests.model.tiny import build, mixture
from tests.published_folders import (
    BASE,
    LINEAR,
    LLAMA3,
    YARN,
    edit_config,
    random_case,
    tensors_of,
    theirs_of,
    write,
    write_with_mtp,
)

CASES = {
    "llama_mha": ("llama", {}),
    "llama_gqa_tied": ("llama", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "llama_mqa_linear": ("llama", {"num_key_value_heads": 1, "rope_parameters": LINEAR}),
    "llama_llama3_wide_heads": ("llama", {"num_key_value_heads": 2, "head_dim": 24, "rope_parameters": LLAMA3}),
    "llama_biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama_yarn_temperatures": ("llama", {"rope_parameters": YARN | {"mscale": 1.0, "mscale_all_dim": 0.4}}),
    "qwen2_gqa": ("qwen2", {"num_key_value_heads": 2, "rms_norm_eps": 1e-5}),
    "qwen2_mha_tied_yarn": ("qwen2", {"num_key_value_heads": 4, "tie_word_embeddings": True, "rope_parameters": YARN}),
    "v2_greedy_no_q_lora": ("deepseek_v2", {"q_lora_rank": None}),
    "v2_groups_scaled": ("deepseek_v2", {"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2,
                                         "routed_scaling_factor": 16.0}),
    "v2_group_numbers_unused": ("deepseek_v2", {"topk_method": "greedy", "n_group": 4, "topk_group": 2}),
    "v2_yarn_equal": ("deepseek_v2", {"rope_parameters": YARN | {"mscale": 0.707, "mscale_all_dim": 0.707}}),
    "v2_yarn_unequal": ("deepseek_v2", {"rope_parameters": YARN | {"mscale": 1.0, "mscale_all_dim": 0.4}}),
    "v2_attention_bias": ("deepseek_v2", {"attention_bias": True}),
    "v3_plain": ("deepseek_v3", {}),
    "v3_no_q_lora_one_shared": ("deepseek_v3", {"q_lora_rank": None, "n_shared_experts": 1}),
    "v3_groups_scaled": ("deepseek_v3", {"n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5}),
    "v3_yarn_no_mscale_all_dim": ("deepseek_v3", {"rope_parameters": YARN | {"mscale": 0.707}}),
    "v3_half_split": ("deepseek_v3", {"rope_interleave": False, "rope_parameters": YARN}),
    "v3_all_dense": ("deepseek_v3", {"first_k_dense_replace": 3}),
    "v3_no_layer_dense_bias": ("deepseek_v3", {"first_k_dense_replace": 0, "attention_bias": True}),
    "v3_latent_eps": ("deepseek_v3", {"rms_norm_eps": 1e-2, "norm_topk_prob": False}),
}  # fmt: skip
RANDOM = {f"random_{seed}": random_case(seed) for seed in range(16)}


def logits_of(model, ids_BT, valid_BT=None):
    """(B, T, V) of either side."""
    with torch.no_grad():
        if isinstance(model, transformers.PreTrainedModel):
            mask = None if valid_BT is None else valid_BT.long()
            return model(ids_BT, attention_mask=mask).logits
        return model(ids_BT, valid_BT=valid_BT).logits


def require_same_model(theirs, ours):
    """Logits, logits beside left padding, and greedy tokens."""
    vocabulary = theirs.config.vocab_size
    ids_BT = torch.randint(vocabulary, (2, 40), generator=torch.Generator().manual_seed(1))
    wanted = logits_of(theirs, ids_BT)
    assert 0.3 < wanted.std() < 4  # the tolerance means something only at this scale
    torch.testing.assert_close(logits_of(ours, ids_BT), wanted, atol=1e-4, rtol=0)
    valid_BT = torch.ones_like(ids_BT, dtype=torch.bool)
    valid_BT[1, :7] = False
    wanted, got = logits_of(theirs, ids_BT, valid_BT), logits_of(ours, ids_BT, valid_BT)
    torch.testing.assert_close(got[valid_BT], wanted[valid_BT], atol=1e-4, rtol=0)
    prompt = ids_BT[:1, :9]
    wanted = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8, do_sample=False,
                             eos_token_id=None, pad_token_id=0)  # fmt: skip
    assert torch.equal(generate(ours, prompt, max_new_tokens=8, temperature=0.0), wanted)


def require_same_files(folder, other):
    """Every tensor under its name, dtype and bits."""
    wanted, got = tensors_of(folder), tensors_of(other)
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert got[name].dtype == tensor.dtype, name
        assert torch.equal(got[name], tensor), name


@pytest.mark.parametrize("case", [*CASES, *RANDOM])
def test_both_ways(case, tmp_path):
    kind, changes = (CASES | RANDOM)[case]
    theirs = theirs_of(kind, **changes)
    there = write(theirs, tmp_path / "there")
    ours = load_pretrained(there)
    require_same_model(theirs, ours)
    back = tmp_path / "back"
    save_pretrained(ours, back)
    require_same_files(there, back)
    again = transformers.AutoModelForCausalLM.from_pretrained(back).eval()
    ids_BT = torch.arange(30)[None] % 97
    assert torch.equal(logits_of(again, ids_BT), logits_of(theirs, ids_BT))
    assert load_pretrained(back).config == ours.config


@pytest.mark.parametrize("kind", ["llama", "deepseek_v3"])
def test_shards_of_either_side_are_read_by_the_other(kind, tmp_path):
    theirs = theirs_of(kind)
    there = write(theirs, tmp_path / "there", max_shard_size="40KB")
    assert len(list(there.glob("model-*.safetensors"))) > 2
    ours = load_pretrained(there)
    save_pretrained(ours, tmp_path / "back", shard_bytes=30_000)
    sizes = [file.stat().st_size for file in (tmp_path / "back").glob("model-*.safetensors")]
    assert len(sizes) > 2
    assert max(sizes) < 40_000
    require_same_files(there, tmp_path / "back")
    transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back")


OLD = {
    "linear": ({"rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 4.0}}, LINEAR),
    "theta": ({"rope_theta": 500, "rope_scaling": None}, {"rope_type": "default", "rope_theta": 500.0}),
    "yarn": (
        {"rope_theta": 10000, "rope_scaling": {"type": "yarn", "factor": 8, "original_max_position_embeddings": 32,
                                               "beta_fast": 4, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 0.4}},
        YARN | {"mscale": 1.0, "mscale_all_dim": 0.4},
    ),
}  # fmt: skip


@pytest.mark.parametrize("old", OLD)
def test_rope_in_the_old_spelling(old, tmp_path):
    spelt, rope = OLD[old]
    theirs = theirs_of("deepseek_v2", rope_parameters=rope)
    write(theirs, tmp_path)
    edit_config(tmp_path, rope_parameters=..., **spelt)
    require_same_model(theirs, load_pretrained(tmp_path))


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("copies", [True, False])
def test_mtp_modules_equal_transformers_and_are_written_back(depth, copies, tmp_path, monkeypatch):
    from transformers.modeling_layers import MtpModel

    there = write_with_mtp(tmp_path / "there", depth, copies)
    # transformers knows the MTP layer by V3's own number alone.
    layers = BASE["num_hidden_layers"]
    known = [rf"model\.layers\.{layers + k}\..*" for k in range(depth)]
    monkeypatch.setattr(transformers.DeepseekV3ForCausalLM, "_keys_to_ignore_on_load_unexpected", known)
    theirs = transformers.DeepseekV3ForCausalLM.from_pretrained(there).eval()
    drafting = MtpModel.from_pretrained(theirs, device_map={"": "cpu"}).eval()
    ours = load_pretrained(there)
    assert ours.config.mtp.depth == depth
    ids_BT = torch.randint(97, (1, 24), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output, state = ours(ids_BT, mtp=True), theirs.model(ids_BT).last_hidden_state
        for k in range(1, depth + 1):
            length = ids_BT.shape[1] - k
            positions = torch.arange(k, k + length)[None]
            state = drafting.forward_layer(k - 1, state[:, :length], positions, None, input_ids=ids_BT[:, k:])
            wanted = theirs.lm_head(state)
            assert 0.3 < wanted.std() < 4
            torch.testing.assert_close(output.mtp_logits(k), wanted, atol=1e-4, rtol=0)
    save_pretrained(ours, tmp_path / "back")
    require_same_files(there, tmp_path / "back")
    assert json.loads((tmp_path / "back" / "config.json").read_text())["num_nextn_predict_layers"] == depth


def test_a_promised_mtp_layer_that_transformers_dropped_is_not_missed(tmp_path):
    write(theirs_of("deepseek_v3"), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["num_nextn_predict_layers"] == 1
    assert load_pretrained(tmp_path).config.mtp.depth == 0


def test_what_the_config_says_beside_the_network_is_written_back(tmp_path):
    write(theirs_of("deepseek_v3", eos_token_id=[5, 6]), tmp_path / "there")
    edit_config(
        tmp_path / "there", aux_loss_alpha=0.001, auto_map={"AutoConfig": "configuration_deepseek.DeepseekV3Config"}
    )
    save_pretrained(load_pretrained(tmp_path / "there"), tmp_path / "back")
    written = json.loads((tmp_path / "back" / "config.json").read_text())
    assert (written["eos_token_id"], written["aux_loss_alpha"]) == ([5, 6], 0.001)
    assert "auto_map" not in written
    assert json.loads((tmp_path / "back" / "generation_config.json").read_text())["eos_token_id"] == [5, 6]


def test_another_dtype_on_the_way_leaves_the_selection_bias_wide(tmp_path):
    theirs = theirs_of("deepseek_v3")
    write(theirs, tmp_path / "there")
    narrow = load_pretrained(tmp_path / "there", dtype=torch.bfloat16)
    assert {p.dtype for p in narrow.parameters()} == {torch.bfloat16}
    assert narrow.blocks[1].ffn.router.selection_bias_E.dtype == torch.float32
    assert torch.equal(narrow.embedding.weight, theirs.model.embed_tokens.weight.bfloat16())
    save_pretrained(narrow, tmp_path / "narrow")
    save_pretrained(load_pretrained(tmp_path / "there"), tmp_path / "cast", dtype=torch.bfloat16)
    require_same_files(tmp_path / "narrow", tmp_path / "cast")
    assert tensors_of(tmp_path / "cast")["model.layers.1.mlp.gate.e_score_correction_bias"].dtype == torch.float32


def test_a_tied_folder_that_stores_its_head_all_the_same(tmp_path):
    write(theirs_of("llama", tie_word_embeddings=True), tmp_path / "there")
    tensors = tensors_of(tmp_path / "there")
    twice = tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}
    save_file(twice, tmp_path / "there" / "model.safetensors", metadata={"format": "pt"})
    model = load_pretrained(tmp_path / "there")
    assert model.head.weight is model.embedding.weight
    assert model.embedding.weight.requires_grad
    save_pretrained(model, tmp_path / "back")
    assert "lm_head.weight" not in tensors_of(tmp_path / "back")


def test_a_mixture_without_shared_experts(tmp_path):
    config = {"n_shared_experts": 0, "n_dense_layers": 1}
    save_pretrained(build(ffn=mixture(**config)), tmp_path)
    assert load_pretrained(tmp_path).blocks[1].ffn.shared is None


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_a_head_that_a_config_ties_and_the_file_does_not_is_its_own(kind, tmp_path):
    """What is left when an adapter of the head was merged into a tied model."""
    write(theirs_of(kind, tie_word_embeddings=True, num_key_value_heads=2), tmp_path / "there")
    tensors = tensors_of(tmp_path / "there")
    merged = tensors["model.embed_tokens.weight"] + torch.randn_like(tensors["model.embed_tokens.weight"])
    save_file(tensors | {"lm_head.weight": merged}, tmp_path / "there" / "model.safetensors", metadata={"format": "pt"})
    with pytest.warns(UserWarning, match=r"lm_head\.weight differs from the embedding that its config ties it to"):
        model = load_pretrained(tmp_path / "there")
    assert torch.equal(model.head.weight, merged)
    assert torch.equal(model.embedding.weight, tensors["model.embed_tokens.weight"])
    save_pretrained(model, tmp_path / "back")
    assert torch.equal(tensors_of(tmp_path / "back")["lm_head.weight"], merged)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back").eval()
    ids_BT = torch.arange(12)[None]
    torch.testing.assert_close(logits_of(model, ids_BT), logits_of(theirs, ids_BT), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("promised", "passed_over"), [(None, "3, 4"), (0, "3, 4"), (1, "4")])
def test_mtp_layers_that_nobody_promised_are_passed_over(promised, passed_over, tmp_path):
    write_with_mtp(tmp_path, depth=2)
    edit_config(tmp_path, num_nextn_predict_layers=... if promised is None else promised)
    with pytest.warns(UserWarning, match=f"MTP layer {passed_over} is stored, but not promised"):
        model = load_pretrained(tmp_path)
    assert model.config.mtp.depth == (promised or 0)
    edit_config(tmp_path, num_nextn_predict_layers=2)
    whole = load_pretrained(tmp_path)
    ids_BT = torch.arange(12)[None]
    torch.testing.assert_close(logits_of(model, ids_BT), logits_of(whole, ids_BT), atol=0, rtol=0)


def test_a_layer_behind_the_last_that_is_no_mtp_module_is_refused(tmp_path):
    write(theirs_of("deepseek_v3", num_hidden_layers=4), tmp_path)
    edit_config(tmp_path, num_hidden_layers=3, num_nextn_predict_layers=...)
    with pytest.raises(DataError, match=r"model\.layers\.3\..* is no part of its config's network"):
        load_pretrained(tmp_path)
