"""Splits by name, and the standard library as a corpus."""

import sysconfig
from pathlib import Path

import pytest

from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.data.corpus import split_of
from deepseek_lab.data.standard_library import InstalledPackages, StandardLibrary

NAMES = [f"package/module_{i}.py" for i in range(4000)]


def test_shares_are_met_and_the_split_of_a_name_never_changes():
    splits = [split_of(name, 0.1, 0.2) for name in NAMES]
    assert splits.count("val") / len(NAMES) == pytest.approx(0.1, abs=0.02)
    assert splits.count("test") / len(NAMES) == pytest.approx(0.2, abs=0.02)
    # Literal answers, so that a change of the hash, which would move files between splits, shows.
    assert [split_of(name, 0.3, 0.3) for name in ("ast.py", "json/decoder.py", "os.py", "abc.py")] == [
        "train",
        "val",
        "train",
        "train",
    ]


def test_a_larger_test_share_takes_from_train_only():
    before = {name: split_of(name, 0.1, 0.1) for name in NAMES}
    after = {name: split_of(name, 0.1, 0.3) for name in NAMES}
    assert all(after[name] == split for name, split in before.items() if split != "train")


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


FILES = {
    "b.py": b"b\r\n",
    "a/z.py": b"z",
    "a.py": "é".encode(),
    "empty.py": b"",
    "latin.py": b"\xe9",
    "note.txt": b"no",
    "site-packages/x.py": b"no",
    "a/__pycache__/x.py": b"no",
    "test/t.py": b"t",
    "a/tests/t.py": b"t",
}


def test_only_python_files_of_the_library_itself_are_read(tmp_path):
    write(tmp_path, FILES)
    documents = list(StandardLibrary.Config(folder=str(tmp_path)).build().documents())
    assert [(d.name, d.text) for d in documents] == [("a.py", "é"), ("a/z.py", "z"), ("b.py", "b\r\n")]
    with_tests = StandardLibrary.Config(folder=str(tmp_path), with_tests=True).build().documents()
    assert {d.name for d in with_tests} == {"a.py", "a/z.py", "b.py", "test/t.py", "a/tests/t.py"}


def test_the_content_hash_sees_names_and_contents(tmp_path):
    def content_hash():
        return StandardLibrary.Config(folder=str(tmp_path)).build().identity

    write(tmp_path, FILES)
    first = content_hash()
    assert content_hash() == first
    write(tmp_path, {"b.py": b"c\r\n"})
    second = content_hash()
    (tmp_path / "b.py").rename(tmp_path / "c.py")
    assert len({first, second, content_hash()}) == 3


def test_the_running_interpreter_has_a_library():
    corpus = StandardLibrary.Config().build()
    paths = corpus.paths()
    assert paths["ast.py"] == Path(sysconfig.get_paths()["stdlib"]) / "ast.py"
    assert "json/decoder.py" in paths
    assert not any("site-packages" in path or path.startswith("test/") for path in paths)


def test_installed_packages_are_read_and_not_imported(tmp_path, monkeypatch):
    write(
        tmp_path, {"one_package/__init__.py": b"raise SystemExit", "one_package/a.py": b"a", "two_package/b.py": b"b"}
    )
    write(tmp_path, {"one_package/tests/t.py": b"t"})
    monkeypatch.syspath_prepend(tmp_path)
    config = InstalledPackages.Config(packages=["two_package", "one_package"])
    config.require_installed()
    names = [document.name for document in config.build().documents()]
    assert names == ["one_package/__init__.py", "one_package/a.py", "two_package/b.py"]
    with pytest.raises(ConfigError, match="data names the package no_package, which is not installed"):
        InstalledPackages.Config(packages=["no_package"]).require_installed()
    with pytest.raises(ConfigError, match=r"packages must name packages as they are imported, not '\.\./x'"):
        InstalledPackages.Config(packages=["../x"])


def test_a_folder_without_python_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=str(tmp_path)):
        list(StandardLibrary.Config(folder=str(tmp_path)).build().documents())
