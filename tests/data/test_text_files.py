"""Local files as a corpus: nothing lost, and what cannot be read is named."""

import gzip
import json

import pytest

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.data.corpus import SPLITS
from deepseek_lab.data.pretrain import PretrainData
from deepseek_lab.data.text_files import TextFiles
from deepseek_lab.text.tokenizer import Bytes

from .small import VOCABULARY

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


def splits_of(folder, cache, **changes):
    """The text of each split, as it was encoded, and the data."""
    corpus = TextFiles.Config(path=str(folder), **changes.pop("reading", {}))
    settings = {"corpus": corpus, "cache_dir": str(cache), "seq_len": 8, "batch_size": 1, "n_workers": 1}
    built = PretrainData.Config(**(settings | changes)).build(Bytes.Config(), VOCABULARY, 1)
    return {split: b"".join(built._text(split)).decode() for split in SPLITS}, built


@pytest.mark.parametrize("unit", ["document", "line"])
def test_a_copy_goes_where_its_original_goes(tmp_path, unit):
    texts = tmp_path / "texts"
    for number in range(40):
        content = f"first of {number}\r\nlast of {number}\r\n".encode()
        for name, form in (
            ("{}.txt", content),
            ("copies/{} (copy).TXT", content),
            ("unix/{}.md", content.replace(b"\r", b"")),
            ("marked/{}.txt", b"\xef\xbb\xbf" + content),
            ("packed/{}.txt.gz", gzip.compress(content)),
        ):
            path = texts / name.format(number)
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_bytes(form)
    found, _ = splits_of(texts, tmp_path / "cache", validation_share=0.2, test_share=0.2, reading={"unit": unit})
    lines = {split: set(text.replace("\r", "").split("\n")) - {""} for split, text in found.items()}
    assert all(lines.values())
    assert not lines["train"] & lines["val"]
    assert not lines["train"] & lines["test"]
    assert not lines["val"] & lines["test"]
    assert sum(map(len, lines.values())) == 80


def test_the_split_of_files_without_copies_is_that_of_their_names(tmp_path):
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    documents = list(TextFiles.Config(path=str(tmp_path)).build().documents())
    assert all(document.held_out_with is None for document in documents)
    (tmp_path / "other.txt").write_text("text 3")
    again = TextFiles.Config(path=str(tmp_path)).build()
    assert {d.name: d.held_out_with for d in again.documents() if d.held_out_with} == {"other.txt#0": "3.txt#0"}


LONG = "".join(f"This is line {number} of the only file.\n" for number in range(400))


@pytest.mark.parametrize(
    ("shares", "parts"),
    [((0.05, 0.05), ("train", "val", "test")), ((0.0, 0.1), ("train", "test")), ((0.3, 0.0), ("train", "val"))],
)
@pytest.mark.parametrize("name", ["only.txt", "only.jsonl"])
def test_one_document_holds_out_its_end(tmp_path, shares, parts, name):
    text = LONG if name == "only.txt" else json.dumps({"text": LONG})
    (tmp_path / name).write_text(text)
    found, data = splits_of(tmp_path / name, tmp_path / "cache", validation_share=shares[0], test_share=shares[1])
    assert "".join(found[split] for split in SPLITS) == LONG
    assert all(found[split].endswith("\n") == (split in parts) for split in SPLITS), "cut between lines"
    for split, share in (("val", shares[0]), ("test", shares[1])):
        assert len(found[split]) == pytest.approx(share * len(LONG), rel=0.3)
    assert data.notes == ["data.corpus: too few documents for whole ones to be held out; the end of each is instead"]
    assert bool(data.baselines()) == (shares[0] > 0)


def test_a_few_documents_hold_out_their_ends(tmp_path):
    """`1.txt` to `3.txt` would all be trained on."""
    for number in range(1, 4):
        (tmp_path / "few" / f"{number}.txt").parent.mkdir(exist_ok=True)
        (tmp_path / "few" / f"{number}.txt").write_text(LONG.replace("line", f"line {number} of"))
    found, _ = splits_of(tmp_path / "few", tmp_path / "cache")
    assert all(f"line {number} of" in found["val"] for number in range(1, 4))
    found, data = splits_of(tmp_path / "few", tmp_path / "cache", validation_share=0.0, test_share=0.0)
    assert (found["val"], found["test"], data.notes, data.baselines()) == ("", "", [], {})


def test_what_is_too_short_to_hold_anything_out_names_the_way_out(tmp_path):
    (tmp_path / "a.txt").write_text("One line, no more of it, but enough to train on.")
    with pytest.raises(
        DataError, match=r"the val split of .* train without held-out text \(data\.validation_share=0\)"
    ):
        splits_of(tmp_path / "a.txt", tmp_path / "cache")
    found, _ = splits_of(tmp_path / "a.txt", tmp_path / "cache", validation_share=0.0)
    assert found["train"].startswith("One line")


def test_what_a_folder_holds_beside_its_text_is_said_with_the_data(tmp_path):
    for number in range(60):
        (tmp_path / "t" / f"{number}.txt").parent.mkdir(exist_ok=True)
        (tmp_path / "t" / f"{number}.txt").write_text(f"text {number} " * 9)
    (tmp_path / "t" / ".venv").mkdir()
    (tmp_path / "t" / ".venv" / "0.txt").write_text("text 0 " * 9)
    (tmp_path / "t" / "b.pdf").write_text("x")
    found, data = splits_of(tmp_path / "t", tmp_path / "cache")
    left = "1 of another kind (.pdf), 1 with a dot before the name"
    assert data.notes == [f"data.corpus: 60 files are read; left out: {left}"]
    assert sum(text.count("text 0 ") for text in found.values()) == 9


def test_rows_of_a_table_are_named(tmp_path):
    from datasets import Dataset

    Dataset.from_dict({"text": ["a", None]}).to_parquet(str(tmp_path / "a.parquet"))
    with pytest.raises(DataError, match=r"a\.parquet, row 2: column 'text' holds None"):
        read(tmp_path)
    (tmp_path / "a.parquet").unlink()
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\n{"texts": "b"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl, line 3 has no column 'text', only texts; did you mean 'texts'"):
        read(tmp_path)
