"""What is to be typed is read again: through the shell's grammar and Hydra's, to the value that was meant."""

import random
import shlex
import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from deepseek_lab.advice import override, resume_command, typed

CHARACTERS = [
    *"ab/ .'\"\\$\\{},[]()=:~*?#!&|;<>%@^`-+0123\n\té中",
    "${",
    "\\${",
    "${HOME}",
    "  ",
    "true",
    "null",
    "1e3",
]


def read(word):
    """The value of one override as a run gets it."""
    (one,) = OverridesParser.create().parse_overrides([word])
    return OmegaConf.create({"value": one.value()}).value


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("/runs/plain_1.5+x-y", "resume=/runs/plain_1.5+x-y"),
        ("/my runs/a, b", "resume=\"'/my runs/a, b'\""),
        ("42", "resume=\"'42'\""),
        ("true", "resume=\"'true'\""),
        ("[exp]", "resume=\"'[exp]'\""),
        ("it's", "resume=\"'it\\'s'\""),
        ("${HOME}", "'resume='\"'\"'\\${HOME}'\"'\"''"),
    ],
)
def test_a_value_is_quoted_where_it_has_to_be(value, line):
    assert typed([override("resume", value)]) == line
    assert read(*shlex.split(line)) == value


def test_any_text_arrives_as_it_is():
    draw = random.Random(7)
    for _ in range(1500):
        text = "".join(draw.choice(CHARACTERS) for _ in range(draw.randint(0, 8)))
        (word,) = shlex.split(typed([override("key", text)]))
        found = read(word)
        assert (found, type(found)) == (text, str), word


def test_a_real_shell_reads_it_as_shlex_does():
    texts = ["it's", 'say "hi"', "${HOME}", "a\\b", "`x`", "$(x)", "two  spaces", "!x", "it's $5", "[/x]", "\\'"]
    words = [override("key", text) for text in texts]
    out = subprocess.run(["sh", "-c", f"printf '%s\\n' {typed(words)}"], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines() == words


def test_the_command_that_goes_on_names_the_folder():
    assert resume_command("/runs/r1") == "python scripts/train.py resume=/runs/r1"
    *_, word = shlex.split(resume_command("/it's [exp]/a b,c=${d}"))
    assert read(word) == "/it's [exp]/a b,c=${d}"
