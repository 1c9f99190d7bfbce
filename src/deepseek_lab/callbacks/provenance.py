"""`provenance.json`: what a run was made of, written before its first step.

Commit, state and hash of the source, versions, command line, seed, data manifest; nothing about the machine
or its user. A run that goes on keeps what it began with and adds a line of its own to `resumed`.
"""

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from deepseek_lab.checkpoint.atomic import write_text_atomically
from deepseek_lab.source import source_hash

_PACKAGES = ("deepseek-lab", "torch", "lightning", "hydra-core", "omegaconf", "numpy", "tokenizers", "datasets")


def source_version(folder: Path) -> dict[str, Any]:
    """Commit of the repository around `folder` and whether files differ from it; nulls without git."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


class Provenance(Callback):
    """Writes `<run>/provenance.json` when fit starts."""

    def __init__(self, run_folder: Path, seed: int, data: dict[str, Any], command: Sequence[str] | None = None) -> None:
        """`data` is the data manifest; `command` None takes the running one."""
        self.path = run_folder / "provenance.json"
        self.seed = seed
        self.data = data
        self.command = shlex.join(sys.argv if command is None else command)

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Written by rename, on rank 0."""
        if not trainer.is_global_zero:
            return
        source = {**source_version(Path(__file__).parent), "hash": source_hash()}
        now = {"command": self.command, "source": source, "versions": _versions()}
        content: dict[str, Any] = {**now, "seed": self.seed, "data": self.data, "resumed": []}
        if trainer.ckpt_path and self.path.exists():
            content = json.loads(self.path.read_text())
            content["resumed"].append({**now, "step": pl_module.steps_done})
        write_text_atomically(self.path, json.dumps(content, indent=2, default=str) + "\n")
