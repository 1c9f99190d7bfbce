"""FP8 folders: read as w·scale to the bit, edge blocks too; written so that reading gives the quantiser's numbers."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from deepseek_lab.checkpoint.huggingface import load_pretrained, save_pretrained
from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.generation import generate
from deepseek_lab.precision.quantise import Rounding, quantise
from tests.published_folders import edit_config, tensors_of, theirs_of, write, write_with_mtp

FP8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
WIDE = {"hidden_size": 144, "intermediate_size": 200, "moe_intermediate_size": 136, "kv_lora_rank": 130}


def reference(weight, scale, block=128):
    """One block at a time, as fp8_cast_bf16.py describes it."""
    wide = weight.float()
    for i in range(scale.shape[0]):
        for j in range(scale.shape[1]):
            wide[i * block : (i + 1) * block, j * block : (j + 1) * block] *= scale[i, j]
    return wide


def narrow_by_hand(folder):
    """Turns every matrix of layers and MTP modules but the router and eh_proj into e4m3 with random scales."""
    tensors = load_file(folder / "model.safetensors")
    for name in list(tensors):
        if ".layers." in name and tensors[name].ndim == 2 and "_proj" in name and "eh_proj" not in name:
            rows, columns = tensors[name].shape
            scale = 0.01 + torch.rand(-(-rows // 128), -(-columns // 128))
            tensors[name] = (400 * (torch.rand(rows, columns) - 0.5)).to(torch.float8_e4m3fn)
            tensors[f"{name}_scale_inv"] = scale
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    edit_config(folder, quantization_config=FP8)
    return tensors


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_read_to_the_bit(dtype, tmp_path):
    write_with_mtp(tmp_path, **WIDE)
    tensors = narrow_by_hand(tmp_path)
    save_pretrained(load_pretrained(tmp_path, dtype), tmp_path / "wide")
    read = tensors_of(tmp_path / "wide")
    scaled = [name for name in tensors if f"{name}_scale_inv" in tensors]
    assert len(scaled) > 60
    for name in scaled:
        assert torch.equal(read[name], reference(tensors[name], tensors[f"{name}_scale_inv"]).to(dtype)), name
    assert "quantization_config" not in json.loads((tmp_path / "wide" / "config.json").read_text())


def test_written_as_the_quantiser_rounds_and_read_back(tmp_path):
    write_with_mtp(tmp_path / "there", **WIDE)
    model = load_pretrained(tmp_path / "there")
    save_pretrained(model, tmp_path / "narrow", fp8=True, shard_bytes=500_000)
    before, stored = tensors_of(tmp_path / "there"), tensors_of(tmp_path / "narrow")
    save_pretrained(load_pretrained(tmp_path / "narrow"), tmp_path / "back")
    after = tensors_of(tmp_path / "back")
    scaled = {name for name in stored if f"{name}_scale_inv" in stored}
    assert {name for name, tensor in stored.items() if tensor.dtype == torch.float8_e4m3fn} == scaled
    assert scaled == {name for name in before if "_proj" in name and before[name].ndim == 2 and "eh_proj" not in name}
    for name, tensor in before.items():
        wanted = quantise(tensor, Rounding("128x128")).values if name in scaled else tensor
        assert torch.equal(after[name], wanted), name
    said = json.loads((tmp_path / "narrow" / "config.json").read_text())["quantization_config"]
    assert said == FP8


def test_the_same_bytes_come_back(tmp_path):
    write(theirs_of("deepseek_v3", **WIDE), tmp_path / "there")
    save_pretrained(load_pretrained(tmp_path / "there"), tmp_path / "once", fp8=True)
    save_pretrained(load_pretrained(tmp_path / "once"), tmp_path / "twice", fp8=True)
    once, twice = tensors_of(tmp_path / "once"), tensors_of(tmp_path / "twice")
    assert once.keys() == twice.keys()
    for name, tensor in once.items():
        if tensor.dtype == torch.float8_e4m3fn:
            assert torch.equal(tensor.view(torch.uint8), twice[name].view(torch.uint8)), name
        else:
            torch.testing.assert_close(twice[name], tensor, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda t, name: t.pop(f"{name}_scale_inv"), "has no weight_scale_inv"),
        (lambda t, name: t.update({f"{name}_scale_inv": torch.ones(1, 1)}), "does not cover the blocks"),
        (lambda t, name: t.update({f"{name}_scale_inv": torch.ones(2, 2, dtype=torch.int32)}), "does not cover"),
        (lambda t, name: t.update({name: torch.zeros(144, 200, dtype=torch.int8)}), "holds int8"),
    ],
)
def test_scales_that_are_missing_or_do_not_fit(spoil, named, tmp_path):
    write(theirs_of("llama", **{k: WIDE[k] for k in ("hidden_size", "intermediate_size")}), tmp_path)
    tensors = narrow_by_hand(tmp_path)
    spoil(tensors, "model.layers.1.mlp.down_proj.weight")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=named):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"weight_block_size": None}, "weight_block_size"), ({"fmt": "e5m2"}, "e5m2"), ({"quant_method": "awq"}, "awq")],
)
def test_other_quantisations(change, named, tmp_path):
    write(theirs_of("llama"), tmp_path)
    edit_config(tmp_path, quantization_config=FP8 | change)
    with pytest.raises(DataError, match=named):
        load_pretrained(tmp_path)
    edit_config(tmp_path, quantization_config=...)
    tensors = load_file(tmp_path / "model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"
    save_file(tensors | {name: tensors[name].to(torch.float8_e4m3fn)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="no config that says"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("stored_as", ["fp8", "wide"])
def test_kept_in_fp8_a_model_computes_what_its_widened_weights_do(stored_as, tmp_path):
    write_with_mtp(tmp_path / "there", **WIDE)
    model = load_pretrained(tmp_path / "there")
    save_pretrained(model, tmp_path / "fp8", fp8=True)
    wide = load_pretrained(tmp_path / "fp8")  # dequantised on load
    kept = load_pretrained(tmp_path / ("fp8" if stored_as == "fp8" else "there"), keep_fp8=True)
    ids_BT = torch.randint(97, (2, 20))
    with torch.no_grad():
        wanted, got = wide(ids_BT, mtp=True), kept(ids_BT, mtp=True)
        torch.testing.assert_close(got.logits, wanted.logits, atol=1e-4, rtol=0)
        torch.testing.assert_close(got.mtp_logits(1), wanted.mtp_logits(1), atol=1e-4, rtol=0)
    prompt = ids_BT[:1, :8]
    assert torch.equal(generate(kept, prompt, 8, temperature=0.0), generate(wide, prompt, 8, temperature=0.0))
    assert _bytes(kept) < 0.5 * _bytes(wide)  # embedding and head are wide, and no small part of a tiny model
    with pytest.raises(ConfigError, match="keep_fp8"):
        save_pretrained(kept, tmp_path / "out")


def _bytes(model):
    return sum(tensor.numel() * tensor.itemsize for tensor in model.state_dict().values())


def test_blocks_of_another_width_are_widened_but_not_kept(tmp_path):
    write(theirs_of("llama"), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"
    scale, narrow = torch.rand(4, 5), torch.randn(64, 80).to(torch.float8_e4m3fn)
    save_file(tensors | {name: narrow, f"{name}_scale_inv": scale}, tmp_path / "model.safetensors")
    edit_config(tmp_path, quantization_config=FP8 | {"weight_block_size": [16, 16]})
    assert torch.equal(load_pretrained(tmp_path).blocks[1].ffn.down.weight, reference(narrow, scale, 16))
    with pytest.raises(DataError, match="blocks of 16 columns cannot be kept"):
        load_pretrained(tmp_path, keep_fp8=True)


def test_scales_that_are_powers_of_two_in_a_byte(tmp_path):
    """`scale_fmt: ue8m0` with scales stored as such (float8_e8m0fnu)."""
    save_pretrained(load_pretrained(write(theirs_of("deepseek_v3"), tmp_path / "wide")), tmp_path / "fp8", fp8=True)
    tensors = load_file(tmp_path / "fp8" / "model.safetensors")
    powers = {name: t.log2().ceil().exp2() if name.endswith("_scale_inv") else t for name, t in tensors.items()}
    bytes_ = {name: t.to(torch.float8_e8m0fnu) if name.endswith("_scale_inv") else t for name, t in powers.items()}
    assert any(t.dtype == torch.float8_e8m0fnu for t in bytes_.values())
    for keep_fp8 in (False, True):
        found = []
        for content in (powers, bytes_):
            save_file(content, tmp_path / "fp8" / "model.safetensors")
            found.append(load_pretrained(tmp_path / "fp8", keep_fp8=keep_fp8).state_dict())
        assert all(torch.equal(found[0][name].float(), found[1][name].float()) for name in found[0])


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (
            {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
            r"not 'bitsandbytes \(load_in_4bit\)'; take the ",
        ),
        ({"_load_in_8bit": True, "_load_in_4bit": False}, r"not 'bitsandbytes \(_?load_in_8bit\)'"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, r"not 'bitsandbytes \(load_in_8bit\)'"),
        ({"bits": 4, "group_size": 128}, "not 'a config that names no quant_method"),
        ({"quant_method": "gptq", "bits": 4}, r"not 'gptq'; .*model.dequantize\(\) and save_pretrained"),
        ("int8", "must be an object, not 'int8'"),
    ],
)
def test_other_quantisations_are_named_with_the_next_step(config, named, tmp_path):
    write(theirs_of("llama"), tmp_path)
    edit_config(tmp_path, quantization_config=config)
    with pytest.raises(DataError, match=named):
        load_pretrained(tmp_path)


def test_a_config_that_quantises_nothing_is_none(tmp_path):
    write(theirs_of("llama"), tmp_path)
    plain = load_pretrained(tmp_path).state_dict()
    edit_config(tmp_path, quantization_config={"load_in_4bit": False, "load_in_8bit": False, "llm_int8_threshold": 6.0})
    assert all(torch.equal(value, plain[name]) for name, value in load_pretrained(tmp_path).state_dict().items())
