"""Folders and files appear whole or not at all."""

import errno
import os

import pytest

from deepseek_lab.data.whole_folder import whole_file, whole_folder


def test_the_folder_is_not_there_before_its_end(tmp_path):
    target = tmp_path / "cache" / "folder"
    with whole_folder(target) as partial:
        (partial / "file").write_text("content")
        assert not target.exists()
    assert (target / "file").read_text() == "content"
    assert os.listdir(target.parent) == ["folder"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_an_error_leaves_nothing(tmp_path, error):
    def write():
        with whole_folder(tmp_path / "folder") as partial:
            (partial / "file").write_text("content")
            raise error

    with pytest.raises(type(error)):
        write()
    assert os.listdir(tmp_path) == []


def test_an_error_that_names_its_own_file_is_left_alone(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"source\.txt"), whole_folder(tmp_path / "folder"):
        (tmp_path / "source.txt").read_text()


def test_another_that_was_faster_wins(tmp_path):
    target = tmp_path / "folder"
    with whole_folder(target) as ours:
        (ours / "file").write_text("ours")
        with whole_folder(target) as theirs:
            (theirs / "file").write_text("theirs")
    assert (target / "file").read_text() == "theirs"
    assert os.listdir(tmp_path) == ["folder"]


def test_a_rename_that_fails_for_another_reason_is_told(tmp_path):
    target = tmp_path / "folder"
    target.write_text("a file in the way")
    with pytest.raises(OSError, match="folder"), whole_folder(target):
        pass
    assert os.listdir(tmp_path) == ["folder"]


def test_a_file_is_replaced_whole_or_kept(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")

    def write(fail):
        with whole_file(target) as file:
            file.write("new")
            if fail:
                raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match=f"{target}: could not be written .No space left"):
        write(fail=True)
    assert (target.read_text(), os.listdir(tmp_path)) == ("old", ["file"])
    write(fail=False)
    assert (target.read_text(), os.listdir(tmp_path)) == ("new", ["file"])
