"""The launcher in a built wheel: Hydra finds it there as it does here, and importing it is cheap."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from deepseek_lab.command_line import PROJECT_ROOT

FOUND = """
import sys
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
import hydra_plugins.deepseek_lab.launcher as plugin
assert plugin.__file__.startswith(sys.argv[1]), plugin.__file__
assert "hydra_plugins.deepseek_lab.launcher" in {found.__module__ for found in Plugins.instance().discover(Launcher)}
assert "torch" not in sys.modules and "lightning" not in sys.modules
"""


def found_in(folder):
    """Whether Hydra finds the plugin of `folder`, in a process that sees no other."""
    command = [sys.executable, "-c", FOUND, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=folder)


def test_hydra_finds_the_launcher_without_importing_torch():
    done = found_in(PROJECT_ROOT / "src")
    assert done.returncode == 0, done.stderr


def test_a_wheel_ships_it(tmp_path):
    """Built without the network, from a copy: setuptools leaves its traces beside the source."""
    pytest.importorskip("setuptools", minversion="77")
    project = tmp_path / "project"
    shutil.copytree(PROJECT_ROOT / "src", project / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT_ROOT / name, project)
    wheel = ["pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", str(tmp_path), "."]
    done = subprocess.run([sys.executable, "-m", *wheel], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(path) as archive:
        assert "hydra_plugins/deepseek_lab/launcher.py" in archive.namelist()
        assert "hydra_plugins/__init__.py" not in archive.namelist(), "it stays a namespace"
        archive.extractall(installed)
    done = found_in(installed)
    assert done.returncode == 0, done.stderr
