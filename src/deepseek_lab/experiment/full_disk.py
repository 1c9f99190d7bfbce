"""A disk that refuses a run's write: one line with the file, what of the run is kept, and how to go on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from deepseek_lab.advice import resume_command
from deepseek_lab.checkpoint.located import checkpoints_in
from deepseek_lab.disk import naming, refusal
from deepseek_lab.stages.errors import DiskRefused


@contextmanager
def kept_on_full_disk(run_folder: Path) -> Iterator[None]:
    """Raises DiskRefused for a write that the disk refused inside."""
    before = threading.excepthook
    threading.excepthook = partial(_unless_refused, before)
    try:
        with naming(run_folder):
            yield
    except OSError as error:
        if refusal(error) is None:
            raise
        found = checkpoints_in(run_folder / "checkpoints")
        kept = "nothing of the run is kept; the same command begins it again when there is room"
        if found:
            step = int(found[-1].stem.rpartition("_")[2])
            kept = f"its first {step} steps are kept; when there is room: {resume_command(run_folder)}"
        raise DiskRefused(f"{error.strerror}; {kept}") from error
    finally:
        threading.excepthook = before


def _unless_refused(before: Callable[[threading.ExceptHookArgs], object], failed: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread; what the disk refuses there is raised again in the main one, and said once."""
    if refusal(failed.exc_value) is None:
        before(failed)
