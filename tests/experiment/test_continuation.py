"""generate.py: prompts in, text or jsonl out, a conversation in the terminal, and one line for what is wrong."""

import io
import json
import runpy
import sys

import pytest

from deepseek_lab.config import DataError
from deepseek_lab.experiment.prompts import Prompt, read_prompts
from deepseek_lab.experiment.shown import visible
from serving.live import ROOT
from talking_run import talking_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return talking_run(tmp_path_factory.mktemp("generate") / "talker")


@pytest.fixture
def generate(run, capsys, monkeypatch):
    def call(*overrides, typed=""):
        """-> exit code, what was printed, lines on stderr."""
        command = ["generate.py", f"checkpoint={run}", "max_new_tokens=12", "engine.max_rows=4", *overrides]
        monkeypatch.setattr(sys, "argv", command)
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / "scripts" / "generate.py"), run_name="__main__")
        printed = capsys.readouterr()
        return stop.value.code, printed.out, printed.err.splitlines()

    return call


def test_a_prompt_is_continued_the_same_whether_it_streams(generate):
    code, streamed, _ = generate("prompt=def f")
    assert code == 0
    assert streamed.startswith("def f")
    assert generate("prompt=def f", "stream=false")[1] == streamed
    assert generate("prompt=def f", "seed=2")[1] != streamed


def test_a_file_of_prompts_becomes_jsonl(generate, tmp_path):
    file, out = tmp_path / "prompts.jsonl", tmp_path / "said.jsonl"
    rows = [{"prompt": "ab"}, {"messages": [{"role": "user", "content": "hé"}]}]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert generate(f"prompts={file}", "format=jsonl", "n=2", f"out={out}")[0] == 0
    said = [json.loads(line) for line in out.read_text().splitlines()]
    assert [{k: v for k, v in row.items() if k != "completions"} for row in said] == rows
    for row in said:
        assert len(row["completions"]) == 2
        for completion in row["completions"]:
            assert completion["finish_reason"] in ("stop", "length")
            assert 1 <= completion["tokens"] <= 12
            assert completion["logprob"] < 0
    assert "reasoning" in said[1]["completions"][0]


def test_a_stop_text_ends_it(generate):
    text = generate("prompt=a")[1][1:].rstrip("\n")
    stop = next(c for c in text[2:] if c.isascii() and c.isalnum())
    assert generate("prompt=a", f"stop=['{stop}']")[1] == "a" + text.split(stop)[0] + "\n"


def test_a_conversation_is_typed_and_its_thought_is_apart(generate):
    code, said, _ = generate("chat=true", "thinking=true", "seed=3", typed="hi\n\nagain\n/exit\nnever\n")
    assert code == 0
    assert said.count("(thought)") == 2
    _, fresh, _ = generate("chat=true", "thinking=true", "seed=3", typed="hi\n/new\nhi\n")
    first, second = fresh.split("(thought)\n")[1:]
    assert first == second, "/new forgets what was said"


def test_prompts_of_a_file_keep_their_thoughts_and_what_is_not_read_is_counted(generate, tmp_path):
    file, out = tmp_path / "prompts.jsonl", tmp_path / "said.jsonl"
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "reasoning_content": "why"},
        {"role": "user", "content": "r"},
    ]
    rows = [{"id": 1, "messages": turns}, {"id": 2, "messages": turns[:1], "system": "s"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, errors = generate(f"prompts={file}", "format=jsonl", f"out={out}")
    assert code == 0
    assert any(line.endswith("the column 'id' is not read (2)") for line in errors)
    said = [json.loads(line)["messages"] for line in out.read_text().splitlines()]
    assert said == [turns, [{"role": "system", "content": "s"}, turns[0]]]
    code, _, errors = generate(f"prompts={file}", "chat=true", "system=t")
    assert (code, "system" in errors[0]) == (2, True)
    code, _, errors = generate(f"prompts={file}", "max_new_tokens=400")
    assert (code, errors[-1].endswith(f"({file}, line 1)")) == (2, True)


def test_a_conversation_that_is_too_long_says_so_and_goes_on(generate):
    code, said, errors = generate("chat=true", typed="x" * 300 + "\nhi\n")
    assert code == 0
    assert any("there is room for 0" in line for line in errors)
    assert said.strip()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([], "prompt must be a text of at least one character"),
        (["prompt=''"], "prompt must be a text of at least one character"),
        (["prompt=a", f"prompts={__file__}"], "prompt and prompts cannot both be given"),
        (["prompts=none.txt"], "prompts names no file or folder: "),
        ([f"prompts={__file__}"], "ends in .txt or .jsonl"),
        (["prompt=a", "max_new_tokens=400"], "max_new_tokens is 400, but behind the prompt's 1 tokens"),
        (["prompt=a", "temperature=-1"], "temperature"),
        (["prompt=a", "top_p=2"], "top_p"),
        (["prompt=a", "top_k=-2"], "top_k"),
        (["prompt=a", "min_p=-0.5"], "min_p"),
        (["prompt=a", "repetition_penalty=0"], "repetition_penalty"),
        (["prompt=a", "temprature=1"], "did you mean 'temperature'"),
        (["prompt=a", "thinking=true"], "belongs to a conversation: chat=true"),
        (["prompt=a", "format=xml"], "format must be text or jsonl"),
        (["prompt=a", "stop=['']"], "stop holds an empty text"),
        (["prompt=a", "engine.max_rows=0"], "engine.max_rows must be at least 1"),
    ],
)
def test_wrong_input_is_one_line(generate, overrides, says):
    code, said, errors = generate(*overrides)
    assert (code, said) == (2, "")
    assert len(errors) == 1
    assert says in errors[0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "holds no prompt"),
        ("{", ", line 1 is no JSON: Expecting property name"),
        ("[]", "holds no prompt"),
        ('{"prompt": ""}', "at least one character"),
        ('{"prompt": "a", "messages": []}', "not both"),
        ('{"messages": []}', "at least one turn"),
        (
            '{"prompt": "a"}\n{"messages": [{"role": "root", "content": ""}]}',
            ", line 2: a message needs a role of system, user, assistant, not 'root'",
        ),
        ('{"messages": [3]}', "needs 'role' and 'content'"),
        ("[" * 5000, "no JSON: nested too deeply"),
    ],
)
def test_a_bad_file_of_prompts_names_the_line(tmp_path, content, says):
    file = tmp_path / "prompts.jsonl"
    file.write_text(content)
    with pytest.raises(DataError, match=r"prompts\.jsonl") as error:
        read_prompts(str(file))
    assert says in str(error.value)


def test_a_text_file_has_a_prompt_a_line(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_bytes("one\r\n\nzwö ei\n".encode())
    assert read_prompts(str(file)) == [Prompt("one"), Prompt("zwö ei")]


def test_a_terminal_is_not_commanded():
    assert visible("\x1b[31mred\x07\x9b\n\tok") == "␛[31mred␇\ufffd\n\tok"
