"""Documents made by number: the same every time, facts repeated, no held-out file among the filler."""

import hashlib

import pytest

from deepseek_lab.config import ConfigError
from deepseek_lab.data.corpus import split_of
from deepseek_lab.data.needles import HELD_OUT, Needles


@pytest.fixture
def folder(tmp_path):
    """Files of code whose lines name the split that the file belongs to."""
    for number in range(60):
        name = f"m{number}.py"
        split = split_of(name, **HELD_OUT)
        (tmp_path / name).write_text("".join(f"{split}_{number}_{i} = {i}\n" for i in range(80)))
    assert any(split_of(path.name, **HELD_OUT) != "train" for path in tmp_path.iterdir())
    return str(tmp_path)


def facts(text):
    return [line for line in text.splitlines() if line.startswith("#")]


def test_documents_are_a_function_of_seed_and_number(folder):
    make = lambda **values: Needles.Config(folder=folder, n_documents=20, **values).build()  # noqa: E731
    once, again, other = make(), make(), make(seed=1)
    assert list(once.documents()) == list(again.documents())
    assert once.identity == again.identity != other.identity
    assert once.text(7) == [d.text for d in make(seed=0).documents()][7]
    assert len({hashlib.sha256(d.text.encode()).digest() for d in once.documents()}) == 20


def test_each_fact_stands_in_its_document_as_often_as_asked_and_says_one_value(folder):
    corpus = Needles.Config(folder=folder, n_documents=50, longest_bytes=1500, repeats=4).build()
    for document in corpus.documents():
        lines = facts(document.text)
        assert lines
        assert all(lines.count(line) == 4 for line in lines)
        assert len({line.rpartition(" ")[0] for line in lines}) == len(set(lines))


def test_no_held_out_file_is_filler(folder):
    corpus = Needles.Config(folder=folder, n_documents=300).build()
    words = {line.partition("_")[0] for d in corpus.documents() for line in d.text.splitlines() if "_" in line}
    assert "train" in words
    assert not words & {"val", "test"}


def test_lengths_are_spread_up_to_the_longest(folder):
    corpus = Needles.Config(folder=folder, n_documents=300, longest_bytes=1600, repeats=1, bare_share=0.0)
    corpus = corpus.build()
    sizes = sorted(sum(len(line) + 1 for line in d.text.splitlines() if "#" not in line) for d in corpus.documents())
    assert sizes[-1] <= 1600
    assert sizes[30] < 150
    assert sizes[-30] > 1100


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_documents_holds_facts_alone(folder, share):
    corpus = Needles.Config(folder=folder, n_documents=200, bare_share=share).build()
    bare = [all(line.startswith("#") for line in d.text.splitlines()) for d in corpus.documents()]
    assert sum(bare) / 200 == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize("field", ["n_documents", "longest_bytes", "repeats"])
def test_bad_configs(field):
    with pytest.raises(ConfigError) as error:
        Needles.Config(**{field: 0})
    assert error.value.field == field
