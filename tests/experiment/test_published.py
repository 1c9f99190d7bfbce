"""Published models where runs are read: trained further, spoken with, measured, converted both ways, inspected."""

import json
import sys
from pathlib import Path

import pytest
import torch
import transformers

from deepseek_lab.checkpoint.huggingface import load_pretrained
from deepseek_lab.checkpoint.native import describe, load_model, read_checkpoint
from deepseek_lab.command_line import run_command
from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.experiment.finished import FinishedRun, find_run
from deepseek_lab.experiment.initial import require_untyped
from deepseek_lab.model.rope import RopeConfig
from deepseek_lab.text.chat import Chat
from deepseek_lab.text.turn_marks import CHATML
from tests.experiment.test_training import command
from tests.published_folders import edit_config, tensors_of, theirs_of, write
from tests.text.test_published_files import CHATML_TOKENS, published
from tiny_run import tiny_config

STEPS = (
    *("data.seq_len=160", "data.batch_size=2", "trainer.max_steps=3", "trainer.validate_every=3"),
    *("trainer.validation_batches=1", "trainer.checkpoint_every=3", "trainer.n_threads=1"),
)
ON_POLICY = (
    *("data.questions=16", "data.validation_questions=2", "stage.validation_samples=1"),
    *("rollout.group_size=2", "rollout.max_new_tokens=4", "optimizer.lr=1e-3"),
)
STAGES = {
    "pretrain": ("data.seq_len=32",),
    "sft": ("data.corpus.n_conversations=60",),
    "dpo": ("data.corpus.n_pairs=60",),
    "reward": ("data.corpus.n_pairs=60",),
    "distill": ("data.corpus.n_conversations=60",),
    "grpo": ON_POLICY,
    "ppo": ON_POLICY,
}


def talking(folder, kind="llama", **changes):
    """A tiny published model with a ChatML tokenizer over bytes."""
    folder.mkdir()
    sizes = {"vocab_size": 264, "max_position_embeddings": 512, "num_hidden_layers": 2}
    write(theirs_of(kind, eos_token_id=258, bos_token_id=256, **sizes, **changes), folder)
    published(folder, CHATML_TOKENS, eos_token="<|im_end|>", bos_token="<|endoftext|>")
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return talking(tmp_path_factory.mktemp("published") / "llama", num_key_value_heads=2)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for number in range(60):
        (folder / f"m{number}.py").write_text(f"value_{number} = {number}\n" * 20)
    return folder


FUNCTIONS = {
    "convert": ("conversion:convert", "conversion:check_conversion"),
    "inspect_checkpoint": ("inspection:inspect", "inspection:check_inspection"),
    "generate": ("continuation:generate", "continuation:check_generation"),
    "evaluate": ("evaluation:evaluate", "evaluation:check_evaluation"),
}


def script(name, *words):
    """Exit code of a script's command line, in this process."""
    sys.argv = [f"{name}.py", *words]
    function, check = (f"deepseek_lab.experiment.{path}" for path in FUNCTIONS[name])
    return run_command(name, function, check=check)


SLOW = {"pretrain", "reward", "ppo"}


@pytest.mark.parametrize("stage", [pytest.param(s, marks=[pytest.mark.slow] if s in SLOW else []) for s in STAGES])
def test_every_stage_starts_from_a_published_model_and_from_the_run_that_did(
    llama, texts, stage, tmp_path, monkeypatch, capsys
):
    paths = (f"paths.logs={tmp_path}", f"paths.cache={tmp_path / 'cache'}")
    own = (f"data.corpus.folder={texts}",) if stage == "pretrain" else ()
    teacher = (f"stage.teacher={llama}",) if stage == "distill" else ()
    words = [f"stage={stage}", *STEPS, *STAGES[stage], *paths, *own, *teacher]
    assert command([*words, f"init_from={llama}"], monkeypatch, capsys) == (0, [])
    (run,) = (tmp_path / stage / "runs").iterdir()
    before = load_pretrained(llama).state_dict()
    after = read_checkpoint(run / "checkpoints" / "step_00000003.ckpt")["state_dict"]
    name = "blocks.1.attention.wq.weight"
    moved = next(after[full] for full in (f"model.{name}", f"model.backbone.{name}") if full in after)
    difference = (moved - before[name]).abs().max()
    assert difference < 0.2  # trained from these weights, not from others
    assert difference > 0 or STAGES[stage] is ON_POLICY  # babble is never right, and teaches nothing
    assert find_run(str(run)).tokenizer().eos_id == find_run(str(llama)).tokenizer().eos_id
    if stage == "sft":
        assert find_run(str(run)).chat_template() == CHATML.template
        assert command([*words, f"init_from={run}"], monkeypatch, capsys) == (0, [])
        assert command([f"resume={run}", "trainer.max_steps=4"], monkeypatch, capsys) == (0, [])


def test_typed_parts_of_a_network_that_comes_with_the_start_are_refused(llama, tmp_path, monkeypatch, capsys):
    words = ["stage=sft", f"paths.logs={tmp_path}", f"init_from={llama}", "model.dim=32"]
    code, lines = command(words, monkeypatch, capsys)
    assert code == 2
    assert lines == ["error: model.dim changes nothing: init_from brings its own network"]
    for typed in ("attention=mla", "ffn=moe", "+mtp=depth1", "model@model=nano"):
        with pytest.raises(ConfigError, match="brings its own network"):
            require_untyped(str(llama), ["seed=2", typed])
    require_untyped(str(llama), ["optimizer.lr=1", "data.seq_len=3"])
    require_untyped(None, ["model.dim=32"])


def test_a_folder_becomes_a_run_and_a_run_a_folder_that_transformers_loads(llama, tmp_path, capsys):
    assert script("convert", f"checkpoint={llama}", f"out={tmp_path / 'run'}") == 0
    run = find_run(str(tmp_path / "run"))
    assert isinstance(run, FinishedRun)
    theirs = load_pretrained(llama)
    assert run.network() == theirs.config
    assert all(
        torch.equal(w, theirs.state_dict()[name]) for name, w in load_model(tmp_path / "run").state_dict().items()
    )
    back = tmp_path / "back"
    assert script("convert", f"checkpoint={tmp_path / 'run'}", f"out={back}") == 0
    before, after = tensors_of(llama), tensors_of(back)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    model = transformers.AutoModelForCausalLM.from_pretrained(back).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(back)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], return_dict=False)
    assert tokenizer.decode(ids) == "<|im_start|>user\nHi<|im_end|>\n"
    with torch.no_grad():
        wanted = model(torch.tensor([ids])).logits
        torch.testing.assert_close(theirs(torch.tensor([ids])).logits, wanted, atol=1e-4, rtol=0)
    assert model.config.eos_token_id == tokenizer.eos_token_id == 258
    assert "a Hugging Face folder, " in capsys.readouterr().out


def test_how_a_published_model_ends_and_is_sampled_goes_wherever_it_goes(tmp_path, capsys):
    folder = talking(tmp_path / "llama")
    edit_config(folder, eos_token_id=[258, 7])
    stated = {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "max_new_tokens": 3, "num_beams": 4}
    (folder / "generation_config.json").write_text(json.dumps({**stated, "eos_token_id": [258, 9], "_x": 1}))
    line = "from the model's generation_config.json: temperature=0.6, top_k=20, max_new_tokens=3; not used: num_beams"
    before = folder
    for there in (folder, tmp_path / "run", tmp_path / "back", tmp_path / "again"):
        if there != folder:
            assert script("convert", f"checkpoint={before}", f"out={there}") == 0
        before = there
        tokenizer = find_run(str(there)).tokenizer()
        assert Chat(tokenizer).stop_ids == {258, 7, 9}
        assert tokenizer.generation.max_new_tokens == 3
        assert tokenizer.generation.sampling == {"temperature": 0.6, "top_p": 0.95, "top_k": 20}
        capsys.readouterr()
        assert script("generate", f"checkpoint={there}", "prompt=a", "top_p=1", "format=jsonl") == 0
        printed = capsys.readouterr()
        assert line in printed.err
        assert json.loads(printed.out)["completions"][0]["tokens"] <= 3
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back")
    assert set(back.generation_config.eos_token_id) == {258, 7, 9}
    assert back.generation_config.temperature == 0.6


def test_what_convert_refuses(llama, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for words, named in (
        ((f"checkpoint={llama}", f"out={tmp_path / 'full'}"), "exists already, and is not empty"),
        ((f"checkpoint={llama}", f"out={tmp_path / 'new'}", "fp8=true"), "a run cannot have it"),
        ((f"checkpoint={llama}", f"out={tmp_path / 'new'}", "dtype=int8"), "dtype must be one of"),
        ((f"checkpoint={tmp_path / 'gone'}", f"out={tmp_path / 'new'}"), "no such run folder"),
        (("checkpoint=x/y/z", f"out={tmp_path / 'new'}"), "no such run folder"),
    ):
        assert script("convert", *words) == 2
        assert named in capsys.readouterr().err
        assert not (tmp_path / "new").exists()


def test_dtype_and_fp8_of_a_folder(llama, tmp_path, capsys):
    for name, words, kinds in (
        ("narrow", ("dtype=bfloat16",), {torch.bfloat16}),
        ("fp8", ("fp8=true",), {torch.float8_e4m3fn, torch.float32}),
    ):
        out = tmp_path / name
        words = (f"checkpoint={llama}", f"out={out}", "to=hugging_face", *words)
        assert script("convert", *words) == 0
        assert {tensor.dtype for tensor in tensors_of(out).values()} == kinds
        assert (out / "tokenizer.json").read_text() == (llama / "tokenizer.json").read_text()
    assert script("convert", f"checkpoint={tmp_path / 'narrow'}", f"out={tmp_path / 'run'}") == 0
    capsys.readouterr()
    assert script("inspect_checkpoint", f"checkpoint={tmp_path / 'run'}", "format=json") == 0
    assert json.loads(capsys.readouterr().out)["dtypes"] == {"bfloat16": 19}


def test_inspection_says_what_is_there_and_what_does_not_fit(tmp_path, capsys):
    folder = talking(tmp_path / "v3", "deepseek_v3")
    words = (f"checkpoint={folder}", "format=json")
    assert script("inspect_checkpoint", *words) == 0
    said = json.loads(capsys.readouterr().out)
    n_params = sum(tensor.numel() for name, tensor in tensors_of(folder).items() if "correction_bias" not in name)
    assert (said["model_type"], said["files"], said["parameters"]) == ("deepseek_v3", 1, n_params)
    assert said["network"]["attention"]["kv_lora_rank"] == 20
    assert said["missing"] == said["unexpected"] == said["wrong"] == []
    edit_config(folder, n_routed_experts=9, moe_intermediate_size=33)
    assert script("inspect_checkpoint", f"checkpoint={folder}") == 2
    shown = capsys.readouterr()
    assert "missing  3: model.layers.1.mlp.experts.8.gate_proj.weight" in shown.out
    assert "its config says" in shown.err
    assert len(shown.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({}, None),
        ({"model_config": describe(RopeConfig())}, "model_config is no network's"),
        ({"state_dict": {"model.final_norm.weight": torch.ones(3)}}, "model_config asks for 2 layers"),
        ({"state_dict": {f"model.{n}": torch.ones(3) for n in range(40)}}, "weight 0 is (3,), its config says None"),
    ],
)
def test_inspection_of_a_run_compares_its_weights_with_its_config(change, named, tmp_path, capsys):
    model = tiny_config().build()
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    content = {"state_dict": state, "model_config": describe(model.config), "run": {}, **change}
    torch.save(content, tmp_path / "step_00000001.ckpt")
    words = (f"checkpoint={tmp_path / 'step_00000001.ckpt'}", "format=json")
    assert script("inspect_checkpoint", *words) == (0 if named is None else 2)
    shown = capsys.readouterr()
    assert named in shown.err if named else json.loads(shown.out)["dtypes"] == {"float32": len(state)}
    assert len(shown.err.splitlines()) == (1 if named else 0)


@pytest.mark.parametrize("what", ["generate", "evaluate", "held_out"])
def test_it_is_spoken_with_and_measured(llama, what, tmp_path, capsys):
    (tmp_path / "text.txt").write_text("A text of some length.\n")
    words = (f"checkpoint={llama}", "n_threads=1", "accelerator=cpu")
    if what == "generate":
        (tmp_path / "asked.txt").write_text("Hi\n")
        asked = (f"prompts={tmp_path / 'asked.txt'}", "chat=true", "max_new_tokens=4", "format=jsonl")
        assert script(what, *words, *asked) == 0
        assert json.loads(capsys.readouterr().out)["completions"][0]["tokens"] <= 4
    elif what == "evaluate":
        assert script(what, *words, "what=text", f"text.path={tmp_path / 'text.txt'}") == 0
        assert json.loads(capsys.readouterr().out)["perplexity"] > 1
    else:
        assert script("evaluate", *words) == 2
        assert "what=text measures any text" in capsys.readouterr().err


def test_weights_are_kept_as_asked(llama, tmp_path, capsys):
    (tmp_path / "text.txt").write_text("A text of some length.\n")
    words = (f"checkpoint={llama}", "n_threads=1", "accelerator=cpu", "what=text", f"text.path={tmp_path / 'text.txt'}")
    losses = []
    for weights in ("float32", "fp8", "bfloat16"):
        assert script("evaluate", *words, f"weights={weights}") == 0
        losses.append(json.loads(capsys.readouterr().out)["loss"])
    assert len(set(losses)) == 3
    assert max(losses) - min(losses) < 0.1
    assert script("evaluate", *words, "weights=int4") == 2
    assert "weights must be null, float32" in capsys.readouterr().err


def test_a_name_on_the_hub_is_found_in_its_cache(llama, tmp_path, monkeypatch):
    snapshot = tmp_path / "models--some--model" / "snapshots" / "abc"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(llama)
    (tmp_path / "models--some--model" / "refs").mkdir()
    (tmp_path / "models--some--model" / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    assert find_run("some/model").network() == load_pretrained(llama).config
    Path("some").mkdir()
    with pytest.raises(DataError, match="no such run folder"):
        find_run("some/model")
    with pytest.raises(DataError, match="its cache here does not hold it"):
        find_run("other/model")
