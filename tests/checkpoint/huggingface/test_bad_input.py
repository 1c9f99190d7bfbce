"""A folder from a stranger: refused in one line that names the file and the cause, or loaded right; never run."""

import json
import pickle
import random
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from deepseek_lab.checkpoint.huggingface import load_pretrained, save_pretrained, saving
from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.model.value_head import ValueModel
from tests.model.tiny import build, grouped, latent, mixture
from tests.published_folders import edit_config, tensors_of, theirs_of, write, write_with_mtp


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """One V3 folder with an MTP layer, in one file, and the same in shards."""
    root = tmp_path_factory.mktemp("sound")
    write_with_mtp(root / "single")
    model = load_pretrained(root / "single")
    save_pretrained(model, root / "sharded", shard_bytes=100_000)
    return root


@pytest.fixture
def folder(sound, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(sound / "single", tmp_path / "folder")


@pytest.fixture
def sharded(sound, tmp_path):
    return shutil.copytree(sound / "sharded", tmp_path / "sharded")


def refusal(folder):
    """The one line that a folder is refused with."""
    with pytest.raises(DataError) as refused:
        load_pretrained(folder)
    line = str(refused.value)
    assert "\n" not in line
    assert str(folder) in line
    assert len(line) < 500
    return line


def change_tensors(folder, change):
    """Rewrites the single file after `change(tensors)`."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_file(folder, share):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "truncated" in refusal(folder)


def test_a_table_of_contents_that_lies(folder):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    table = json.loads(content[8 : 8 + length])
    table["lm_head.weight"]["data_offsets"] = table["model.norm.weight"]["data_offsets"]
    text = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    assert "lm_head.weight" in refusal(folder)


def test_a_missing_shard_and_a_shard_without_its_tensor(sharded):
    shards = sorted(sharded.glob("model-*.safetensors"))
    tensors = load_file(shards[1])
    first = next(iter(tensors))
    del tensors[first]
    save_file(tensors, shards[1])
    assert first in refusal(sharded)
    shards[1].unlink()
    assert shards[1].name in refusal(sharded)


def test_a_tensor_that_the_index_does_not_know(sharded):
    shard = min(sharded.glob("model-*.safetensors"))
    save_file({**load_file(shard), "stray": torch.ones(1)}, shard)
    assert "stray" in refusal(sharded)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/model.safetensors", "..\\x.safetensors", "x.bin", 3])
def test_a_name_in_the_index_that_leads_elsewhere(sharded, name):
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["lm_head.weight"] = name
    path.write_text(json.dumps(index))
    assert "lm_head.weight" in refusal(sharded)


def test_a_shape_that_contradicts_the_config(folder):
    edit_config(folder, intermediate_size=81)
    assert "mlp.gate_proj.weight is [80, 64], its config says [81, 64]" in refusal(folder)


def test_missing_and_unexpected_tensors(folder):
    change_tensors(folder, lambda tensors: tensors.pop("model.layers.1.mlp.gate.weight"))
    assert "model.layers.1.mlp.gate.weight is missing" in refusal(folder)
    name = "model.layers.1.mlp.gates.weight"
    change_tensors(folder, lambda tensors: tensors.update({name: torch.ones(8, 64)}))
    assert f"did you mean '{name}'" in refusal(folder)
    change_tensors(folder, lambda tensors: tensors.update({"model.layers.1.mlp.gate.weight": torch.ones(8, 64)}))
    assert f"{name} is no part" in refusal(folder)


def test_stale_buffers_are_passed_over(folder):
    name = "model.layers.1.self_attn.rotary_emb.inv_freq"
    change_tensors(folder, lambda tensors: tensors.update({name: torch.ones(4)}))
    load_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "mistral"}, "model_type 'mistral' is unknown"),
        ({"model_type": "deepseek_v4"}, "did you mean 'deepseek_v"),
        ({"model_type": ...}, "model_type 'None'"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"hidden_size": "64"}, "hidden_size must be an integer"),
        ({"hidden_size": -64}, "hidden_size must be at least 1"),
        ({"vocab_size": 10**30}, "vocab_size is no number that a network has"),
        ({"vocab_size": 10**17}, "no network that can be built"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
        ({"n_routed_experts": 10**9}, "n_routed_experts is 1000000000"),
        ({"num_experts_per_tok": 9}, "num_experts_per_tok must be at most"),
        ({"n_group": 3}, "n_group must divide"),
        ({"kv_lora_rank": None}, "kv_lora_rank"),
        ({"qk_rope_head_dim": 7}, "qk_rope_head_dim must be even"),
        ({"rms_norm_eps": -1.0}, "rms_norm_eps must not be negative"),
        ({"rope_thetb": 5}, "did you mean 'rope_theta'"),
        ({"rms_norm_epz": 1e-5, "rms_norm_eps": ...}, "did you mean 'rms_norm_eps'"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type 'dynamic'"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 0.5}}, "factor must be at least 1"),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"rope_parameters": 7}, "rope_scaling is no object"),
        ({"scoring_func": "softmax"}, "scoring_func is 'softmax'"),
        ({"topk_method": "greedy"}, "topk_method is 'greedy'"),
        ({"moe_layer_freq": 2}, "moe_layer_freq is 2"),
        ({"quantization_config": {"quant_method": "gptq"}}, "'gptq'"),
        ({"num_nextn_predict_layers": 2}, "model.layers.4"),
        ({"auto_map": {"AutoModelForCausalLM": "evil.Model"}}, "never run"),
        ({"auto_map": {"AutoModelForCausalLM": "evil/repo--modeling_deepseek.Model"}}, "never run"),
        ({"auto_map": "evil.Model"}, "auto_map is no object"),
    ],
)
def test_a_config_that_cannot_be(folder, changes, named):
    edit_config(folder, **changes)
    assert named in refusal(folder)


def test_a_sliding_window_is_refused_where_a_layer_uses_it(tmp_path):
    write(theirs_of("qwen2", num_key_value_heads=2), tmp_path)
    edit_config(tmp_path, use_sliding_window=True, sliding_window=16, max_window_layers=3, layer_types=...)
    load_pretrained(tmp_path)
    edit_config(tmp_path, max_window_layers=2)
    assert "use_sliding_window" in refusal(tmp_path)


class Evil:
    def __reduce__(self):
        return print, ("a pickle was run",)


def test_pickles_are_never_opened(folder, capsys):
    path = folder / "model.safetensors"
    torch.save(Evil(), path)
    assert "no safetensors file" in refusal(folder)
    path.rename(folder / "pytorch_model.bin")
    assert "pytorch_model.bin is a pickle" in refusal(folder)
    path.write_bytes(pickle.dumps(Evil()))
    refusal(folder)
    assert "a pickle was run" not in capsys.readouterr().out


def test_code_that_lies_in_the_folder_is_not_run(folder, capsys):
    for name in ("modeling_deepseek.py", "configuration_deepseek.py"):
        (folder / name).write_text("print('code was run')\n")
    edit_config(folder, auto_map={"AutoModelForCausalLM": "modeling_deepseek.DeepseekV3ForCausalLM"})
    load_pretrained(folder)
    assert "code was run" not in capsys.readouterr().out


def test_no_folder_no_config_no_weights_no_json(folder, tmp_path):
    assert "no config.json" in refusal(tmp_path / "gone")
    (folder / "config.json").write_bytes(b'{"model_type": "llama", "model_type": "qwen2"}')
    assert "stands there twice" in refusal(folder)
    for content in (b"", b"[1]", b"{" * 100_000, b"\xff\xfe", b'{"vocab_size": 1' + b"0" * 10_000 + b"}"):
        (folder / "config.json").write_bytes(content)
        refusal(folder)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text('{"model_type": "llama"}')
    assert "holds no weights" in refusal(tmp_path / "empty")


def test_a_copy_that_differs_is_passed_over_with_a_word(folder):
    name = "model.layers.3.embed_tokens.weight"
    change_tensors(folder, lambda tensors: tensors.update({name: tensors[name] + 1}))
    with pytest.warns(UserWarning, match=r"embed_tokens\.weight differs"):
        model = load_pretrained(folder)
    assert torch.equal(model.embedding.weight, tensors_of(folder)["model.embed_tokens.weight"])


NASTY = (0, -1, 10**12, 10**400, 2.5, -1e-9, 1e400, "abc", "", None, True, [], {}, [1, 2], {"a": 1})


def edited(text, draw):
    """A JSON text with one value changed or removed, or one character."""
    values = json.loads(text)
    place = values
    while True:
        key = draw.choice(list(place))
        if not isinstance(place[key], dict) or not place[key] or draw.random() < 0.2:
            break
        place = place[key]
    way = draw.random()
    if way < 0.25:
        del place[key]
    elif way < 0.75:
        place[key] = draw.choice(NASTY)
    else:
        at = draw.randrange(len(text))
        return text[:at] + draw.choice('{}[]",:0189eE-._ax\x00') + text[at + 1 :]
    return json.dumps(values)


def corrupt(folder, draw):
    """Spoils one file of a folder in one way."""
    weights = sorted(folder.glob("*.safetensors"))
    way = draw.random()
    if way < 0.4:
        path = draw.choice(sorted(folder.glob("*.json")))
        path.write_text(edited(path.read_text(), draw))
        return
    path = draw.choice(weights)
    content = bytearray(path.read_bytes())
    if way < 0.55:
        content = content[: draw.randrange(len(content))]
    else:
        table = 8 + struct.unpack("<Q", content[:8])[0]
        for _ in range(draw.choice([1, 1, 3])):
            content[draw.randrange(table if draw.random() < 0.8 else len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


@pytest.mark.filterwarnings("ignore:.*differs from the main model's", "ignore:.*not promised by")
def test_two_hundred_corruptions_load_right_or_are_refused_in_one_line(sound, tmp_path):
    """Tensors keep the names and shapes of the sound folder, or one line says what is wrong."""
    shapes = {name: tensor.shape for name, tensor in load_pretrained(sound / "single").state_dict().items()}
    refused = []
    for seed in range(200):
        draw = random.Random(seed)
        folder = shutil.copytree(sound / draw.choice(["single", "sharded"]), tmp_path / str(seed))
        corrupt(folder, draw)
        try:
            model = load_pretrained(folder)
        except DataError as error:
            line = str(error)
            refused.append(str(folder) in line and "\n" not in line)
        else:
            found = {name: tensor.shape for name, tensor in model.state_dict().items()}
            lacks = shapes.keys() - found.keys()  # MTP layers that a spoilt config does not promise any more
            assert found == {name: shape for name, shape in shapes.items() if name not in lacks}
            assert all(name.startswith("mtp.") for name in lacks)
            assert model(torch.arange(5)[None]).logits.shape == (1, 5, 97)
        shutil.rmtree(folder)
    assert all(refused)
    assert 100 < len(refused) < 200  # flipped numbers, and values that nothing reads, cannot be seen


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"attention": grouped(2), "ffn": "moe"}, "ffn.router is sigmoid"),
        ({"attention": grouped(2, rope_layout="interleaved"), "ffn": "dense"}, "attention.rope_layout"),
        ({"attention": latent(rope_layout="half_split"), "ffn": mixture(router="softmax", norm_topk_prob=False)},
         "attention.rope_layout"),
        ({"ffn": mixture(router="softmax")}, "ffn.norm_topk_prob"),
        ({"attention": grouped(2), "ffn": "dense", "mtp": 1}, "mtp.depth"),
        ({"ffn": "dense", "mtp": 1}, "mtp modules"),
        ({"attention": grouped(2, qkv_bias=False, out_bias=True), "ffn": "dense"}, "attention.qkv_bias"),
    ],
)  # fmt: skip
def test_a_network_without_a_published_class_is_refused_by_its_field(config, field, tmp_path):
    with pytest.raises(ConfigError) as refused:
        save_pretrained(build(**config), tmp_path / "out")
    assert field in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_value_model_is_no_language_model(tmp_path):
    with pytest.raises(ConfigError, match="is a ValueModel"):
        save_pretrained(ValueModel.around(build()), tmp_path / "out")


def test_what_cannot_be_written_leaves_the_target_as_it_was(sound, tmp_path, monkeypatch):
    model = load_pretrained(sound / "single")
    target = shutil.copytree(sound / "sharded", tmp_path / "target")
    (target / "tokenizer.json").write_text("{}")
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    whole, written = saving.write_tensors, []

    def full_disk(path, *args):
        written.append(path)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        whole(path, *args)

    monkeypatch.setattr(saving, "write_tensors", full_disk)
    for place in (target, tmp_path / "new"):
        written.clear()
        with pytest.raises(OSError, match="No space"):
            save_pretrained(model, place, shard_bytes=100_000)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(saving, "write_tensors", whole)
    save_pretrained(model, target)
    assert {path.name for path in target.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
    }  # fmt: skip
