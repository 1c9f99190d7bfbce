"""Printing never stops a command: readers that leave, full devices, closed files, characters that do not fit."""

import os
import subprocess
import sys

import pytest

from deepseek_lab.command_line import PROJECT_ROOT
from deepseek_lab.command_line.terminal import lasting_terminal

PROGRAM = """
import sys
from deepseek_lab.command_line import answered
def command():
    for number in range(3000):
        print(f"line {number} … ü \\udcff", flush=True)
        print(f"line {number} … ü", file=sys.stderr)
    with open(sys.argv[1], "w") as file:
        file.write(f"{file.fileno()} {sys.stdin.read()}")
    return 7
sys.exit(answered(command, stdout_is_the_result=len(sys.argv) > 2))
"""


@pytest.fixture
def program(tmp_path):
    """Runs the program under a shell's redirections -> its exit code, its words, and what it left in its file."""

    def run(redirections, *more, **environment):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "end"), *more]
        line = f'"$@" {redirections}'
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line, "bash", *command],
            env={**os.environ, **environment},
            input=b"x\xffy",
            capture_output=True,
            check=False,
        )
        end = tmp_path / "end"
        return done.returncode, done.stdout + done.stderr, end.read_text() if end.exists() else None

    return run


@pytest.mark.parametrize(
    "redirections",
    [">/dev/full", "2>/dev/full", ">/dev/full 2>&1", "2>&1 >/dev/null | head -1", "2>&1 | head -1", ">&- 2>&-"],
)
def test_whoever_reads_the_command_goes_on_to_its_end(program, redirections):
    code, words, end = program(redirections)
    assert code == 7
    assert end is not None
    assert b"Traceback" not in words
    assert b"Exception ignored" not in words


def test_a_file_never_takes_the_place_of_a_closed_one(program):
    _, _, end = program(">&- 2>&- <&-")
    number, _, stdin = end.partition(" ")
    assert int(number) > 2
    assert stdin == ""


def test_output_that_is_lost_is_said_once_where_somebody_listens(program):
    code, words, _ = program(">/dev/full 2>&1 | tail -1")
    assert code == 7
    assert words == b""
    code, words, _ = program("2>&1 >/dev/full | tail -1")
    assert words == b"warning: the output could not be written (No space left on device)\n"


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", rb"\u2026 \xfc \udcff"), ("utf-8", b"\xe2\x80\xa6 \xc3\xbc ")]
)
def test_a_character_that_does_not_fit_is_printed_as_its_number(program, encoding, shown):
    code, words, end = program("| head -1", PYTHONIOENCODING=encoding)
    assert code == 7
    assert words.startswith(b"line 0 " + shown)
    assert end.endswith("x�y" if encoding == "utf-8" else "y"), "what is read is replaced, too"


def test_a_result_that_could_not_be_written_is_an_error_and_a_reader_that_left_ends_the_command(program):
    code, words, _ = program("2>/dev/null | head -1", "result")
    assert code == 1
    assert words.count(b"\n") == 1
    code, words, end = program("2>&1 >/dev/full | tail -1", "result")
    assert (code, words) == (7, b"error: the output could not be written (No space left on device)\n")
    assert end is not None


def test_answers_of_hydra_are_results_and_their_loss_an_error():
    command = [sys.executable, str(PROJECT_ROOT / "scripts" / "train.py"), "--help"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "error: the output could not be written (No space left on device)\n",
    )


def test_streams_that_are_not_the_process_own_stay(capsys):
    before = sys.stdout
    with lasting_terminal():
        assert sys.stdout is before
        print("seen")
    assert capsys.readouterr().out == "seen\n"
