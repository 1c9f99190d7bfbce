"""What a refusal advises to type is read again, through the shell's grammar and Hydra's, to the text that was meant."""

import re
import runpy
import shlex
import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from deepseek_lab.advice import override
from deepseek_lab.command_line import PROJECT_ROOT


@pytest.fixture
def refusal(monkeypatch, capsys):
    """The one line that a script refuses its words with."""

    def run(script, *words):
        monkeypatch.setattr(sys, "argv", [f"scripts/{script}.py", *words])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(PROJECT_ROOT / "scripts" / f"{script}.py"), run_name="__main__")
        lines = capsys.readouterr().err.splitlines()
        assert (stop.value.code, len(lines)) == (2, 1), lines
        return lines[0]

    return run


def advised(line):
    """The key and the value of the override that stands at the end of a line."""
    (word,) = shlex.split(re.split("is quoted: |that it is: ", line)[1])
    (one,) = OverridesParser.create().parse_overrides([word])
    return one.get_key_element(), OmegaConf.create({"value": one.value()}).value


@pytest.mark.parametrize(
    "text",
    [
        *("42", "1.5", "true", "a, b", "it's", "[a]", "{a", "a=b", 'say "hi"', "what? (really)", "${HOME}", "${"),
        *("{a: 1}", "${env:HOME}", "it's ${x}, or not", "[/x]", "no, really", "a,b", "back\\slash, here", "`x`, $(y)"),
    ],
)
def test_a_text_that_is_none_to_hydra_is_advised_as_one(refusal, text):
    assert advised(refusal("generate", "checkpoint=/nowhere", f"prompt={text}")) == ("prompt", text)


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("paths.logs=/my runs, and more", "paths.logs", "/my runs, and more"),
        ("paths.logs=${HOME}/runs", "paths.logs", "${HOME}/runs"),
        ("data.corpus.folder=[exp]", "data.corpus.folder", "[exp]"),
        ("init_from=7", "init_from", "7"),
        ("resume=/runs/[exp]", "resume", "/runs/[exp]"),
        ("paths.cache=it's", "paths.cache", "it's"),
    ],
)
def test_a_path_that_is_none_to_hydra_is_advised_as_one(refusal, word, key, value):
    assert advised(refusal("train", word)) == (key, value)


def test_a_text_of_several_lines_needs_no_quotes(refusal):
    assert refusal("generate", "checkpoint=/nowhere", "prompt=it's\ntwo, lines") == (
        "error: /nowhere: no such run folder or checkpoint"
    )


def test_choices_are_not_advised_as_texts(refusal):
    assert refusal("train", "attention=mha,mla").endswith("add -m to train one after the other")


def test_spaces_in_a_name_stay_as_they_are(refusal):
    assert refusal("train", "resume=/no/such  folder").endswith("names a folder that does not exist: /no/such  folder")


def test_a_run_in_a_folder_that_hydra_would_read_as_something_else_is_refused(refusal, tmp_path):
    line = refusal("train", override("hydra.run.dir", tmp_path / "${HOME}"))
    assert line.startswith(f"error: hydra.run.dir = {tmp_path}/${{HOME}}: no run lies in a folder with ${{ in its name")
    assert list(tmp_path.iterdir()) == []
