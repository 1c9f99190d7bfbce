"""Every wrong word on the command line is answered with one line that names the right one."""

import pytest

WRONG = [
    ("attention=mqla", ["attention has no option 'mqla'", "did you mean 'm", "options: mha, mla, mqa"]),
    ("attnetion=mla", ["attnetion is unknown", "did you mean 'attention'"]),
    ("model.dmi=64", ["model.dmi is unknown", "did you mean 'model.dim'"]),
    ("model.dim.x=64", ["model.dim.x is unknown", "did you mean 'model.dim'"]),
    ("attention.kv_lora_rank=64", ["attention.kv_lora_rank is unknown", "did you mean 'model.kv_lora_rank'"]),
    ("attention.foo=64", ["attention.foo is unknown (attention has n_heads)"]),
    ("attention.n_head=64", ["did you mean 'attention.n_heads'"]),
    ("hydra.rnu.dir=x", ["hydra.rnu"]),
    ("model=64", ["model has no option '64'", "options: micro, nano"]),
    ("attention=null", ["attention needs an option (options: mha, mla, mqa)"]),
    ("ablation=null", ["ablation chooses nothing unless it is typed; leave it out"]),
    ("+model.dim=64", ["+model.dim", "write model.dim=64"]),
    ("+attention=mla", ["+attention", "without the +: attention=mla"]),
    ("+model.dmi=64", ["+model.dmi", "did you mean 'model.dim'"]),
    ("++model.dmi=64", ["++model.dmi", "did you mean 'model.dim'"]),
    ("~attention", ["~attention", "choose an option"]),
    ("~model.dim", ["~model.dim"]),
    ("model.dim=(", ["'model.dim=('", "quoted"]),
    ("model.dim", ["'model.dim'", "write key=value"]),
    ("=64", ["'=64'", "write key=value"]),
    ("attention=mha,mla", ["'attention=mha,mla'", "add -m"]),
    ("model.dim=64,128", ["'model.dim=64,128'", "add -m"]),
    ("model.dim=???", ["model.dim has no value"]),
    ("model.dim=${model.dmi}", ["model.dim", "model.dmi", "not found"]),
    ("seed=${oops:1}", ["oops"]),
    ("--multi-run", ["--multi-run is no option", "did you mean '--multirun'"]),
]


@pytest.mark.parametrize(("word", "parts"), WRONG, ids=[word for word, _ in WRONG])
def test_one_line_exit_2_and_nothing_done(app, word, parts):
    code, lines = app(word)
    assert code == 2
    assert len(lines) == 1, lines
    assert all(part in lines[0] for part in parts), lines[0]
    assert app.seen == []
    assert app.checked == 0
    assert not app.logs.exists()


def test_a_broken_config_file_is_named(app):
    (app.conf_dir / "attention" / "mla.yaml").write_text("kv_lora_rank: [1\nn: }")
    code, lines = app("attention=mla")
    assert code == 2
    assert len(lines) == 1
    assert "mla.yaml" in lines[0]


def test_what_is_right_is_let_through(app):
    code, lines = app("attention=mla", "++model.kv_lora_rank=8", "trainer.max_steps='5'", "seed=3")
    assert (code, lines) == (0, [])
    assert app.seen[0].attention.kv_lora_rank == 8


@pytest.mark.parametrize("flags", [["--cfg", "job"], ["--help"]])
def test_looking_at_the_config_names_wrong_words_too(app, flags):
    assert app(*flags)[0] == 0
    assert "kv_lora_rank: 16" in app.out
    code, lines = app(*flags, "model.dmi=64")
    assert code == 2
    assert len(lines) == 1
    assert app.seen == []
