"""Bad data through the command of scripts/train.py: one line that names it, exit code 2, and nothing trained."""

import sys

import pytest

from deepseek_lab.command_line import run_command

BATCH = ["data.batch_size=10", "data.micro_batch_size=4"]
RAMP = ["data.batch_size_start=6", "data.batch_ramp_steps=9", "data.micro_batch_size=4"]


@pytest.fixture
def train(monkeypatch, capfd, tmp_path):
    """Runs scripts/train.py's command in this process; gives its exit code and the lines on stderr."""

    def command(*overrides):
        paths = [f"paths.logs={tmp_path / 'logs'}", f"paths.cache={tmp_path / 'cache'}"]
        monkeypatch.setattr(sys, "argv", ["scripts/train.py", *overrides, *paths])
        try:
            code = run_command("train", "deepseek_lab.experiment:train", check="deepseek_lab.experiment:check")
        except SystemExit as stop:
            code = stop.code
        assert not list(tmp_path.glob("logs/**/*.ckpt"))
        return code, [line for line in capfd.readouterr().err.splitlines() if "encoding the corpus" not in line]

    return command


def files(tmp_path, name, content):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / name).write_bytes(content)
    return tmp_path / "text"


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.txt", b"", "holds no text: no file of .json, .jsonl, .md, .parquet, .py, .txt that is not empty"),
        ("a.png", b"x", "holds no text"),
        ("a.txt", b"\x89PNG\xff\xfe", "a.txt, line 1 is not UTF-8"),
        ("a.jsonl", b'{"texts": "x"}\n', "a.jsonl, line 1 has no column 'text', only texts; did you mean 'texts'?"),
        ("a.jsonl", b"\x00\x01", "a.jsonl, line 1 is no JSON"),
        ("a.txt", b"short", "the train split of the corpus has"),
    ],
)
def test_files_that_cannot_be_read(train, tmp_path, name, content, line):
    code, lines = train("data=text_files", f"data.corpus.path={files(tmp_path, name, content)}", "tokenizer=bytes")
    assert (code, len(lines)) == (2, 1), lines
    assert line in lines[0]


def test_a_missing_path_and_a_single_empty_file(train, tmp_path):
    code, lines = train("data=text_files", f"data.corpus.path={tmp_path / 'nowhere'}")
    assert (code, lines) == (2, [f"error: data.corpus.path names no file or folder: {tmp_path / 'nowhere'}"])
    folder = files(tmp_path, "a.txt", b"")
    code, lines = train("data=text_files", f"data.corpus.path={folder / 'a.txt'}")
    assert (code, lines) == (2, [f"error: {folder / 'a.txt'} is empty"])


def test_a_hub_that_cannot_be_reached(train, monkeypatch):
    import huggingface_hub

    def unreachable(*arguments, **settings):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    code, lines = train("data=hub", "data.corpus.name=owner/name")
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith("error: owner/name: the hub cannot be reached (Name or service not known)")


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["data=mixture", "data.corpus.weights.code=0.8"], "data.corpus.weights must add up to 1, not 0.8 + 0.3 = 1.1"),
        (["data=mixture", "data.corpus.sources.code.with_tests=3"], "data.corpus.sources.code.with_tests must be true"),
        (["data=mixture", "data.corpus.sources.packages.packages=[nowhere]"], "the package nowhere, which is not"),
        (BATCH, "data.micro_batch_size must divide batch_size (10)"),
        (
            ["data.batch_size=9", "trainer.devices=2"],
            "data.batch_size = 9 is no multiple of 2: 2 processes × micro-batches of 1",
        ),
        (RAMP, "data.micro_batch_size must divide batch_size_start (6)"),
        (["data.batch_size_start=4"], "data.batch_ramp_steps is needed, too"),
        (["data.fim_rate=1.5"], "data.fim_rate must lie between 0 and 1, not 1.5"),
        (["data.punctuation_split_rate=0.1"], "data.punctuation_split_rate = 0.1 splits nothing"),
        (["tokenizer=deepseek"], "model.vocab_size = 1024 is less than the tokenizer's 129280 tokens"),
        (["data=text_files"], "data.corpus.path has no value"),
        (["data=hub", "data.corpus.name=x", "data.corpus.keep_shards=1"], "data.corpus.keep_shards must be null or"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_read(train, tmp_path, overrides, line):
    code, lines = train(*overrides)
    assert (code, len(lines)) == (2, 1), lines
    assert line in lines[0]
    assert not (tmp_path / "cache").exists()
