"""Each error that a person can cause has one line and the right exit code; a fault of the program has none."""

import errno

import pytest
import torch

from deepseek_lab.command_line.errors import describe
from deepseek_lab.config import ConfigError, DataError

AGAIN = "; when there is room, type the same command again"


class _Stop(RuntimeError):
    __module__ = "deepseek_lab.stages.loop.stage"


def _wrapped():
    try:
        raise ConfigError("must be even", "model.qk_rope_head_dim")
    except ConfigError as cause:
        error = RuntimeError("Error in call to target")
        error.__cause__ = cause
        return error


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (ConfigError("must be\n  an integer", "model.dim"), "model.dim must be an integer", 2),
        (_wrapped(), "model.qk_rope_head_dim must be even", 2),
        (DataError("a.ckpt: cut short"), "a.ckpt: cut short", 2),
        (
            OSError(errno.ENOSPC, "No space left on device", "/x/data.bin"),
            f"No space left on device: /x/data.bin{AGAIN}",
            1,
        ),
        (OSError("disk went away"), "disk went away", 1),
        (_Stop("the loss is nan at step 3, layer 1"), "the loss is nan at step 3, layer 1", 1),
    ],
)
def test_line_and_code(error, line, code):
    assert describe(error) == (line, code)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
def test_out_of_memory_names_the_knobs(error):
    line, code = describe(error)
    assert code == 1
    assert "\n" not in line
    for knob in ("data.micro_batch_size", "data.seq_len", "model=", "precision=bf16"):
        assert knob in line


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("size mismatch"), TypeError("y"), AssertionError()])
def test_a_fault_of_the_program_keeps_its_traceback(error):
    assert describe(error) is None
