"""`scripts/train.py` as one of two ranks, which notes the numbers it reads and the weights it begins with."""

import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from deepseek_lab.checkpoint.fingerprint import fingerprint
from deepseek_lab.checkpoint.huggingface.tensor_file import TensorFile
from deepseek_lab.command_line import PROJECT_ROOT
from deepseek_lab.stages.loop.stage import Stage


def watch(note: Path) -> None:
    """Writes, before the model is wrapped or sharded, what was read until then and what all networks hold."""
    read: list[tuple[str, str, int]] = []
    fill, load, configure = TensorFile._fill, torch.load, Stage.configure_model

    def noting_fill(self: Any, room: Any, entry: Any) -> None:
        read.append((self.path.as_posix(), entry.name, entry.n_bytes))
        fill(self, room, entry)

    def noting_load(path: Any, *words: Any, **how: Any) -> Any:
        if not how.get("mmap"):
            read.append((Path(path).as_posix(), "", Path(path).stat().st_size))
        return load(path, *words, **how)

    def noting_configure(self: Any) -> None:
        whole = {"stage": fingerprint(self), **{name: fingerprint(one) for name, one in self.companions.items()}}
        numbers = all(bool(t.isfinite().all()) for t in self.state_dict().values() if t.is_floating_point())
        note.write_text(json.dumps({"read": read, "weights": whole, "numbers": numbers}))
        configure(self)

    TensorFile._fill = noting_fill  # type: ignore[method-assign]
    torch.load = noting_load
    Stage.configure_model = noting_configure  # type: ignore[method-assign]


def train(folder: Path, *overrides: str) -> list[dict[str, Any]]:
    """What each of two ranks notes. Raises AssertionError with their words when one fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    shared |= {"TORCHELASTIC_RUN_ID": "tests", "LOCAL_WORLD_SIZE": "2"}
    notes = [folder / f"rank{rank}.json" for rank in range(2)]
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, str(notes[rank]), *overrides],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=PROJECT_ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        words = [rank.communicate(timeout=600)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(text[-3000:] for text in words)
    return [json.loads(note.read_text()) for note in notes]


if __name__ == "__main__":
    torch.set_num_threads(1)
    watch(Path(sys.argv[1]))
    sys.argv = ["train.py", *sys.argv[2:]]
    runpy.run_path(str(PROJECT_ROOT / "scripts" / "train.py"), run_name="__main__")
