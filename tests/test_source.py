"""The hash of the source changes with what trains, and with nothing else."""

import subprocess
import sys

import pytest

from deepseek_lab.source import PACKAGE, TRAINS_NOTHING, source_hash


@pytest.fixture
def package(tmp_path):
    for name in ("model/norm.py", "report/page.py", "config.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    return tmp_path


def hashed(package):
    source_hash.cache_clear()
    return source_hash(package)


@pytest.mark.parametrize(
    ("name", "text", "counts"),
    [
        ("model/norm.py", "x = 2\n", True),
        ("model/new.py", "", True),
        ("report/page.py", "x = 2\n", False),
        ("model/notes.txt", "x", False),
    ],
)
def test_what_counts(package, name, text, counts):
    before = hashed(package)
    assert before == hashed(package)
    (package / name).write_text(text)
    assert (hashed(package) != before) == counts


def test_a_moved_file_is_another_source(package):
    before = hashed(package)
    (package / "config.py").rename(package / "settings.py")
    assert hashed(package) != before


def test_no_training_imports_what_is_left_out():
    look = "import sys, deepseek_lab.experiment.training; print(*(m for m in sys.modules if m[:13] == 'deepseek_lab.'))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    folders = {name.split(".")[1] for name in done.stdout.split()}
    assert "stages" in folders
    assert not folders & TRAINS_NOTHING
    assert {"report", "benchmarking"} <= {path.name for path in PACKAGE.iterdir()}
