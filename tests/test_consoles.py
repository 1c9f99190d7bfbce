"""What a person's words look like on the terminal: as they are. Brackets are no markup, colons no pictures."""

import ast
import io
from pathlib import Path

import pytest
from rich.console import Console

from deepseek_lab.experiment.banner import print_note

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "scripts").glob("*.py")])


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            yield node, name, {word.arg: getattr(word.value, "value", None) for word in node.keywords}


def test_no_console_reads_markup_or_pictures_in_what_it_prints():
    consoles = [(path, node, words) for path in SOURCES for node, name, words in calls(path) if name == "Console"]
    assert len(consoles) > 10
    for path, node, words in consoles:
        assert (words.get("markup"), words.get("emoji")) == (False, False), f"{path}:{node.lineno}"


def test_no_moving_line_reads_markup_in_a_description():
    columns = [(path, node, words) for path in SOURCES for node, name, words in calls(path) if name == "TextColumn"]
    for path, node, words in columns:
        constant = isinstance(node.args[0], ast.Constant) and "{" not in node.args[0].value
        assert constant or words.get("markup") is False, f"{path}:{node.lineno}"


@pytest.mark.parametrize("text", ["/runs/[exp]", "/runs/[/x]", "/runs/[bold]x", ":warning: here"])
def test_a_line_of_the_banner_shows_a_path_as_it_is(text):
    console = Console(file=io.StringIO(), width=200)
    print_note(console, "run", text)
    assert console.file.getvalue() == f"    run  {text}\n"
