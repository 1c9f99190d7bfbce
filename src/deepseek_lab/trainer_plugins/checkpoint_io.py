"""Checkpoint files for Lightning: written whole or not at all, read without pickle.

Lightning's own plugin holds the whole file in memory, writes it to the temporary folder and moves it
without an fsync; a kill or a full disk there can leave half a file under the final name. Left out:
sharded checkpoints and remote file systems.
"""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from deepseek_lab.checkpoint.atomic import write_atomically
from deepseek_lab.checkpoint.native import read_checkpoint


class AtomicCheckpointIO(CheckpointIO):
    """Give it to the Trainer: `Trainer(plugins=[AtomicCheckpointIO()])`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes beside `path`, forces it to disk and renames. Raises OSError naming the file."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, lambda file: torch.save(checkpoint, file))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Tensors on the CPU and plain values, whatever the caller asks for. Raises DataError in one line."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Removes the file; one that is gone already is no error."""
        Path(path).unlink(missing_ok=True)
