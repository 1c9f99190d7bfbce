"""Files that people bring: every reader reads exactly what is named, and names the row that it cannot read."""

import gzip
import json
import os
from pathlib import Path

import pytest

from deepseek_lab.config import DataError
from deepseek_lab.data.conversation_files import ConversationFiles
from deepseek_lab.data.preference_pairs import PairFiles
from deepseek_lab.data.text_files import TextFiles
from deepseek_lab.experiment.prompts import read_prompts
from deepseek_lab.input_files import found_files, row_files, rows
from deepseek_lab.tasks.code_problems import problems_in
from deepseek_lab.tasks.gsm8k import GradeSchoolMath

TURNS = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]
READERS = {
    "conversations": (
        lambda path: list(ConversationFiles.Config(path=path).build().conversations()),
        {"messages": TURNS},
    ),
    "pairs": (
        lambda path: list(PairFiles.Config(path=path).build().pairs()),
        {"prompt": "1 + 1?", "chosen": "2", "rejected": "3"},
    ),
    "text": (lambda path: list(TextFiles.Config(path=path).build().documents()), {"text": "1 + 1 = 2"}),
    "prompts": (read_prompts, {"prompt": "1 + 1?"}),
    "gsm8k": (lambda path: GradeSchoolMath.Config(path=path).build(), {"question": "1 + 1?", "answer": "#### 2"}),
    "code": (
        lambda path: list(problems_in(row_files(path).files)),
        {"question": "Add.", "entry": "f", "tests": [{"input": [1, 1], "output": 2}]},
    ),
}


@pytest.fixture(params=READERS)
def reader(request):
    """A reader of a path, and a row that it reads."""
    return READERS[request.param]


def line(row):
    return (json.dumps(row) + "\n").encode()


@pytest.mark.parametrize(
    ("second", "cause"),
    [
        (b'{"text": "\\ud83d", "prompt": "\\ud83d", "question": "\\ud83d"}', r"holds half a character \(\\ud83d\)"),
        (b'{"\\udc00": 1}', r"holds half a character \(\\udc00\)"),
        (b'{"text": "a"', "is no JSON: Expecting ',' delimiter"),
        (b'{"text": "a", "text": "b"}', "is no JSON: has 'text' twice"),
        (b"[" * 100_000, "is no JSON: nested too deeply"),
        (b'{"n": ' + b"9" * 5000 + b"}", "is no JSON: Exceeds the limit"),
        (b"[1]", "is no JSON object"),
        (b'"text"', "is no JSON object"),
        (b'{"text": "\xe9"}', r"is not UTF-8 \(byte 0xe9\)"),
        (b'{"text": "\xed\xa0\xbd"}', r"is not UTF-8 \(byte 0xed\)"),
        (b"{}", ""),
        (b'{"other": "x"}', ""),
    ],
    ids=range(12),
)
def test_every_reader_names_file_and_row(tmp_path, reader, second, cause):
    read, good = reader
    (tmp_path / "a.jsonl").write_bytes(line(good) + second + b"\n" + line(good))
    with pytest.raises(DataError, match=f"a.jsonl, line 2.*{cause}") as caught:
        read(str(tmp_path / "a.jsonl"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        lambda row: b"\xef\xbb\xbf" + line(row),
        lambda row: line(row).replace(b"\n", b"\r\n") + b"\r\n \r\n",
        lambda row: json.dumps([row], indent=1).encode(),
        lambda row: gzip.compress(line(row)),
        lambda row: gzip.compress(b"\xef\xbb\xbf" + line(row)) + gzip.compress(b"\r\n"),
    ],
    ids=["mark", "crlf", "list", "gzip", "gzip_in_parts_with_mark"],
)
def test_every_reader_reads_one_row_in_any_dress(tmp_path, reader, content):
    read, row = reader
    (tmp_path / "plain.jsonl").write_bytes(line(row))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "plain.jsonl").write_bytes(content(row))
    plain, dressed = read(str(tmp_path / "plain.jsonl")), read(str(tmp_path / "x" / "plain.jsonl"))
    if isinstance(plain, list):
        assert dressed == plain


@pytest.mark.parametrize(
    "name", ["part[0].jsonl", "what*.jsonl", "a?.jsonl", "{a,b}.jsonl", "caf\udce9.JSONL", "-.jsonl"]
)
def test_exactly_the_file_that_is_named_is_read(tmp_path, reader, name):
    read, good = reader
    for neighbour in ("part0.jsonl", "whatever.jsonl", "ab.jsonl", "a.jsonl", "b.jsonl"):
        (tmp_path / neighbour).write_bytes(b"neighbour")
    (tmp_path / name).write_bytes(line(good))
    read(str(tmp_path / name))
    (tmp_path / name).write_bytes(line(good) + b"{\n")
    with pytest.raises(DataError, match="line 2 is no JSON") as caught:
        read(str(tmp_path / name))
    assert str(caught.value).encode()  # which a terminal and a file can hold


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("a.jsonl", b"\xff\xfe{\x00", r"line 1 is not UTF-8 \(it looks like UTF-16\)"),
        ("a.jsonl.gz", b'{"a": 1}\n', "is not compressed by gzip"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-9], "cannot be read: Compressed file ended before"),
        ("a.jsonl", gzip.compress(b'{"a": 1}\n', mtime=0)[:8] + b"xxxxxxxxxxxxxxxx", "cannot be read: "),
        ("a.json", b'[{"a": 1},\n {"a": 2]', "line 2 is no JSON"),
        ("a.json", b'[{"a": 1}, 2]', "row 2 is no JSON object"),
        ("a.json", b'[{"a": "\\ud800"}]', "row 1 holds half a character"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content, cause):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}.*{cause}"):
        list(rows([tmp_path / name]))


def test_a_pair_of_halves_is_a_character(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "\\ud83d\\ude00 \\u00e9"}')
    assert [row for _, row in rows([tmp_path / "a.jsonl"])] == [{"text": "😀 é"}]


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match=r"a\.jsonl is no file"):
        list(rows([tmp_path / "a.jsonl"]))


def made(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(os.fsencode(name))


def test_a_folder_is_read_whole_and_the_rest_is_counted(tmp_path, monkeypatch):
    root, beside = tmp_path / "root", tmp_path / "beside"
    made(root, "a.txt", "B.TXT", "c.txt.gz", "d/e.txt", "d/deep/f.txt", "g.pdf", "h.pdf", "Makefile", "shut/x.txt")
    made(root, ".venv/i.txt", "d/.ipynb_checkpoints/e.txt", ".j.txt", "caf\udce9.txt")
    made(beside, "k.txt", "sub/l.txt")
    (root / "empty.txt").touch()
    (root / "a_link").symlink_to(beside)
    (root / "again").symlink_to(beside / "sub")
    (root / "same.txt").symlink_to(root / "a.txt")
    (root / "round").symlink_to(root)
    (root / "up").symlink_to(tmp_path)
    (beside / "back").symlink_to(root / "d")
    (root / "broken.txt").symlink_to(tmp_path / "nowhere")
    scandir = os.scandir

    def shut(folder):
        if Path(folder).name == "shut":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", shut)
    found = found_files(root, {".txt"})
    names = [file.relative_to(root).as_posix() for file in found.files]
    linked = ["a_link/k.txt", "a_link/sub/l.txt"]
    assert names == ["B.TXT", "a.txt", *linked, "c.txt.gz", "caf\udce9.txt", "d/deep/f.txt", "d/e.txt"]
    assert found.left_out == {
        "with a dot before the name": 3,
        "of another kind (.pdf)": 2,
        "of another kind (no suffix)": 1,
        "empty": 1,
        "links that lead nowhere": 1,
        "links to what is read anyway": 5,
        "folders that cannot be opened (Permission denied)": 1,
    }
    assert found.note.startswith("8 files are read; left out: 1 empty, 1 folders that")
