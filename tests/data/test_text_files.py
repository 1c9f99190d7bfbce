"""Local files as a corpus: nothing lost, and what cannot be read is named."""

import pytest

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.data.text_files import TextFiles

TEXT = "one\r\ntwo é\n\n\nthree\n  \nfour\n\nfive"


def read(path, **settings):
    return [(d.name, d.text) for d in TextFiles.Config(path=str(path), **settings).build().documents()]


@pytest.mark.parametrize(("unit", "n_units"), [("document", 1), ("paragraph", 4), ("line", TEXT.count("\n") + 1)])
def test_units_of_plain_text_lose_nothing(tmp_path, unit, n_units):
    (tmp_path / "a.txt").write_bytes(TEXT.encode())
    documents = read(tmp_path, unit=unit)
    assert "".join(text for _, text in documents) == TEXT
    assert [name for name, _ in documents] == [f"a.txt#{number}" for number in range(n_units)]


def test_a_folder_is_read_in_order_and_a_single_file_alike(tmp_path):
    for name in ("b.md", "a/z.txt", "empty.txt", "picture.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("" if name == "empty.txt" else name)
    assert read(tmp_path) == [("a/z.txt#0", "a/z.txt"), ("b.md#0", "b.md")]
    assert read(tmp_path / "b.md") == [("b.md#0", "b.md")]


def test_tables_give_their_column(tmp_path):
    from datasets import Dataset

    (tmp_path / "a.jsonl").write_text('{"body": "one", "n": 1}\n{"body": "", "n": 2}\n{"body": "three", "n": 3}\n')
    Dataset.from_dict({"body": ["four"]}).to_parquet(str(tmp_path / "b.parquet"))
    assert read(tmp_path, column="body") == [("a.jsonl#0", "one"), ("a.jsonl#2", "three"), ("b.parquet#0", "four")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.jsonl", b'{"text": "a"}\n{"te', "line 2 is no JSON: Unterminated string"),
        ("number.jsonl", b'{"text": 3}\n', "holds 3, which is no text"),
        ("other.jsonl", b'{"texts": "a"}\n', "has no column 'text', only texts; did you mean 'texts'"),
        ("cut.parquet", b"xxx", "cannot be read"),
        ("latin.txt", b"\xe9\xff", "line 1 is not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_folder_without_text_and_a_wrong_unit_are_refused(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path} holds no text"):
        read(tmp_path)
    with pytest.raises(DataError, match="nowhere does not exist"):
        read(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"unit must be one of document, paragraph, line"):
        TextFiles.Config(path="x", unit="word")
