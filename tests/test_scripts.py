"""Every script answers `--help` at once, and the ones a newcomer runs first are sound shell."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHELL = [*sorted((ROOT / "scripts").glob("*.sh")), ROOT / ".ci" / "run"]


def run(*words, **settings):
    """A finished process with its output as text."""
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False, **settings)


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.name)
def test_help_says_how_to_use_it_and_imports_no_torch(script):
    done = run(sys.executable, "-X", "importtime", str(script), "--help")
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.splitlines()) > 3
    assert not re.search(r"\| +torch$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_shell_scripts_parse_stop_at_errors_and_can_be_started(script):
    assert run("bash", "-n", str(script)).returncode == 0
    if script.name != "setup.sh":
        assert os.access(script, os.X_OK)
        assert "set -euo pipefail" in script.read_text()


def _project(folder):
    """A copy of what set-up reads, with a `.venv` that records what it is asked instead of installing."""
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "setup.sh", folder / "scripts")
    shutil.copy(ROOT / "pyproject.toml", folder)
    fake = folder / ".venv" / "bin" / "python"
    fake.parent.mkdir(parents=True)
    fake.write_text(
        f'#!/bin/sh\necho "$*" >>"{folder}/asked"\n'
        f'case "$*" in "-m pip install"*) [ ! -e "{folder}/broken" ]; exit;;\n'
        '"-m pip"* | "-c import torch") exit 0;; esac\n'
        f'exec "{sys.executable}" "$@"\n'
    )
    fake.chmod(0o755)
    return folder


def _set_up(folder, wanted):
    """Exit code and the installs that were asked for."""
    (folder / "asked").unlink(missing_ok=True)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f". scripts/setup.sh; set_up {wanted}"],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    asked = (folder / "asked").read_text().splitlines()
    return done.returncode, [line for line in asked if line.startswith("-m pip install") and " -e " in line]


def test_set_up_installs_once_again_after_a_change_and_again_after_a_failure(tmp_path):
    folder = _project(tmp_path / "a project")
    assert _set_up(folder, "base") == (0, ["-m pip install --quiet -e ."])
    assert _set_up(folder, "base") == (0, [])
    assert _set_up(folder, "dev") == (0, ["-m pip install --quiet -e .[dev]"])
    assert _set_up(folder, "dev") == (0, [])
    assert _set_up(folder, "base") == (0, [])
    (folder / "pyproject.toml").write_text((folder / "pyproject.toml").read_text() + "\n# changed\n")
    (folder / "broken").touch()
    code, asked = _set_up(folder, "base")
    assert code != 0
    assert len(asked) == 1
    (folder / "broken").unlink()
    assert _set_up(folder, "base") == (0, ["-m pip install --quiet -e ."])


def test_without_a_python_the_line_says_what_to_install(tmp_path):
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup.sh", tmp_path / "scripts")
    bash = shutil.which("bash")
    command = ". scripts/setup.sh; find_python"
    done = subprocess.run(
        [bash, "-c", command], capture_output=True, text=True, cwd=tmp_path, env={"PATH": str(tmp_path)}, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: no Python 3.11 or newer found; install one from https://www.python.org/downloads/"
    ]


def _torch_asked(tmp_path, cpu_index_reached, cuda_releases):
    """The installs of torch that set-up asks for without a driver, where the index has CUDA builds of some releases."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "pyproject.toml").write_text('dependencies = ["torch>=2.13,<2.15"]\n')
    fake = tmp_path / "python"
    nvidia = '{"install": [{"metadata": {"requires_dist": ["nvidia-cublas"]}}]}'
    plain = nvidia.replace("nvidia-cublas", "numpy")
    fake.write_text(
        f'#!/bin/sh\ncase "$*" in\n"-c import torch") exit 1;;\n*--dry-run*) case "$*" in {cuda_releases}) '
        f"echo '{nvidia}';; *) echo '{plain}';; esac;;\n"
        f'"-m pip install"*) echo "$*" >>"{tmp_path}/asked"\n'
        f'case "$*" in *--index-url*) exit {1 - cpu_index_reached};; esac;;\n*) exec "{sys.executable}" "$@";;\nesac\n'
    )
    fake.chmod(0o755)
    command = (
        ". scripts/setup.sh; has_nvidia_driver() { return 1; }; uname() { echo Linux; }; "
        f'python="{fake}"; pip_quiet=--quiet; install_cpu_torch'
    )
    done = run("bash", "-euo", "pipefail", "-c", f"cd '{tmp_path}'; {command}")
    assert done.returncode == 0, done.stderr
    asked = tmp_path / "asked"
    return asked.read_text().splitlines() if asked.exists() else []


FROM_CPU_INDEX = (
    "-m pip install --quiet --retries 0 --timeout 15 --index-url https://download.pytorch.org/whl/cpu torch>=2.13,<2.15"
)


@pytest.mark.parametrize(
    ("cpu_index_reached", "cuda_releases", "installs"),
    [
        (True, '*">=2.99"*', []),  # the package index gives a CPU build by itself
        (True, "*torch*", [FROM_CPU_INDEX]),
        (False, "*torch*", [FROM_CPU_INDEX]),
        (
            False,
            '*"<2.15"*',
            [FROM_CPU_INDEX, "-m pip install --quiet torch>=2.13,<2.14"],
        ),
    ],
    ids=["from_the_index", "from_the_index_of_cpu_builds", "none_to_be_had", "an_older_release"],
)
def test_without_a_driver_the_cpu_build_of_torch_is_installed(tmp_path, cpu_index_reached, cuda_releases, installs):
    assert _torch_asked(tmp_path, cpu_index_reached, cuda_releases) == installs
