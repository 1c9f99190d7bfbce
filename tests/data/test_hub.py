"""Data sets of the hub's form in local folders: whole and streamed, and one line for what cannot be read."""

import json
import os
import time

import pytest

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.data.hub import Hub
from deepseek_lab.data.pretrain import PretrainData
from deepseek_lab.text.tokenizer import Bytes

from .small import VOCABULARY

ROWS = [{"body": f"text {number} " * (number % 4), "n": number} for number in range(60)]
DOCUMENTS = [(f"train/{row['n']}", row["body"]) for row in ROWS if row["body"]]


@pytest.fixture(scope="module", autouse=True)
def no_other_cache(tmp_path_factory):
    """The library's own cache cannot be written: only `cache_dir` is used."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        (file := tmp_path_factory.mktemp("home") / "file").touch()
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", file)
        yield


@pytest.fixture(params=["jsonl", "parquet"])
def folder(request, tmp_path):
    """Two files of 30 rows."""
    from datasets import Dataset

    for part in range(2):
        rows = ROWS[30 * part : 30 * part + 30]
        if request.param == "jsonl":
            (tmp_path / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            Dataset.from_list(rows).to_parquet(str(tmp_path / f"{part}.parquet"))
    return tmp_path


def config(folder, **settings):
    where = {"name": str(folder), "cache_dir": str(folder.parent / f"{folder.name}.cache"), "column": "body"}
    return Hub.Config(**where | settings)


def corpus(folder, **settings):
    return config(folder, **settings).build()


@pytest.mark.parametrize("name", ["run[1]", "what*", "a?b"])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_folder_whose_name_is_a_pattern_is_refused_and_not_its_neighbour_read(tmp_path, name, streaming):
    for each in (name, "run1", "whatever", "aXb"):
        (tmp_path / each).mkdir()
        (tmp_path / each / "x.jsonl").write_text(json.dumps({"body": each}) + "\n")
    with pytest.raises(DataError, match=r"takes [\[*?] in a path for a pattern"):
        list(corpus(tmp_path / name, streaming=streaming).documents())
    assert [document.text for document in corpus(tmp_path / "run1", streaming=streaming).documents()] == ["run1"]


@pytest.mark.parametrize("streaming", [False, True])
def test_every_row_with_text_is_a_document(folder, streaming):
    documents = corpus(folder, streaming=streaming).documents()
    assert [(document.name, document.text) for document in documents] == DOCUMENTS


@pytest.mark.parametrize("n_read", [0, 1, 22, 23, 44, 45])
def test_a_stream_goes_on_where_it_stood(folder, n_read):
    reader = corpus(folder, streaming=True).reader()
    for _ in range(n_read):
        next(reader)
    position = json.loads(json.dumps(reader.position()))
    rest = corpus(folder, streaming=True).reader(position)
    assert [(document.name, document.text) for document in rest] == DOCUMENTS[n_read:]


def test_the_identity_knows_files_and_settings_and_reads_no_text(folder):
    first = corpus(folder).identity
    assert corpus(folder, streaming=True).identity == first
    assert corpus(folder, column="n").identity != first
    path = min(folder.iterdir())
    os.utime(path, (1, 1))
    assert corpus(folder).identity != first


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"column": "bodi"}, "has no column 'bodi', only body, n; did you mean 'body'"),
        ({"column": "n"}, "column 'n' holds 0, which is no text"),
        ({"split": "trian"}, "cannot be read: .*trian"),
        ({"subset": "other"}, "cannot be read: .*other"),
    ],
)
def test_what_is_not_there_is_named_in_one_line(folder, streaming, settings, message):
    with pytest.raises(DataError, match=message) as refusal:
        list(corpus(folder, streaming=streaming, **settings).documents())
    assert str(folder) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "message"), [("no/such/name", "neither a folder nor the name"), ("owner/name", "the hub")]
)
def test_what_the_hub_does_not_give_is_one_quick_line(monkeypatch, name, message):
    import huggingface_hub

    def unreachable(*arguments, **settings):
        raise ConnectionError("Name or service not known\nmore")

    if name == "owner/name":
        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    began = time.monotonic()
    with pytest.raises(DataError, match=message) as refusal:
        Hub.Config(name=str(name)).build().identity  # noqa: B018
    assert time.monotonic() - began < 10
    assert "\n" not in str(refusal.value)


def test_formats_that_could_hold_code_are_not_read(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match="is kept as imagefolder; only arrow, csv, json, parquet, text are read"):
        corpus(tmp_path).identity  # noqa: B018


def test_impossible_stream_settings_are_refused():
    with pytest.raises(ConfigError, match="keep_shards must be null or at least two windows, 8"):
        Hub.Config(name="x", keep_shards=7)
    with pytest.raises(ConfigError, match="shard_tokens must be at least 1"):
        Hub.Config(name="x", shard_tokens=0)


def test_a_streamed_data_set_becomes_training_data(folder, tmp_path_factory):
    cache = tmp_path_factory.mktemp("prepared")
    settings = {"streaming": True, "held_out_documents": 20, "shard_tokens": 200, "window_shards": 2}

    def build(**changes):
        hub = config(folder, **settings)
        whole = {"corpus": hub, "cache_dir": str(cache), "seq_len": 16, "batch_size": 8, "validation_share": 0.5}
        return PretrainData.Config(**whole | changes).build(Bytes.Config(), VOCABULARY, 1)

    steps = [build().step_batch(k)[0].tokens_BT1.tolist() for k in (0, 5, 9)]
    data = build()
    assert [data.step_batch(k)[0].tokens_BT1.tolist() for k in (9, 5, 0)] == steps[::-1]
    assert 0 < data.trigram_bits_per_byte() < 8
    assert list(data.validation_batches())
    assert build(batch_size=4).manifest == data.manifest
