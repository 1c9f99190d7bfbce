"""What a person reads when something goes wrong: one line, and an exit code.

2 means that the command or its data is wrong, 1 that the machine or the training stopped the run.
An error that is none of these is a fault of the program: it keeps its traceback.
"""

import sys
from collections.abc import Iterator

import yaml
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from deepseek_lab.command_line.composition import one_line
from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.disk import NO_ROOM

OUT_OF_MEMORY = (
    "out of memory: a smaller data.micro_batch_size or data.seq_len (the batch and the result of a step stay the same "
    "with the first), a smaller model=, or precision=bf16 needs less"
)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _is_out_of_memory(error: BaseException) -> bool:
    """Memory of the device or of the machine; torch's CPU allocator raises a plain RuntimeError."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("DefaultCPUAllocator" in text or "CUDA out of memory" in text)


def _is_explained_stop(error: BaseException) -> bool:
    """A RuntimeError of a class of this project, such as the stage's TrainingError."""
    own = type(error).__module__.split(".")[0] == __name__.split(".")[0]
    return isinstance(error, RuntimeError) and own


def _disk(error: OSError) -> str:
    """`No space left on device: file` instead of the errno spelling."""
    if error.strerror is None:
        return one_line(error)
    files = [str(name) for name in (error.filename, error.filename2) if name is not None]
    remedy = "; when there is room, type the same command again" if error.errno in NO_ROOM else ""
    return ": ".join([error.strerror, *files]) + remedy


def describe(error: BaseException) -> tuple[str, int] | None:
    """The line and the exit code for an error, or None for a fault of the program."""
    for cause in _causes(error):
        if isinstance(cause, (ConfigError, DataError)):
            return one_line(cause), 2
    if isinstance(error, (HydraException, OmegaConfBaseException, yaml.YAMLError)):
        return one_line(error) or one_line(error.__cause__), 2
    if _is_out_of_memory(error):
        return OUT_OF_MEMORY, 1
    if isinstance(error, OSError):
        return _disk(error), 1
    if _is_explained_stop(error):
        return one_line(error), 1
    return None
