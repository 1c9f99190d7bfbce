"""How long, how often and on what a run goes, and what of it is profiled: values of `trainer/*.yaml` and `profile`.

Left out: everything that these values are turned into (training, parallel).
"""

from dataclasses import dataclass, fields
from typing import Literal

from deepseek_lab.config import CheckedConfig


@dataclass(frozen=True, kw_only=True)
class TrainerSettings(CheckedConfig):
    """How long, how often and on what a run goes (`trainer/*.yaml`); steps are optimiser steps."""

    accelerator: Literal["cpu", "gpu", "auto"]
    devices: int  # a machine
    nodes: int  # machines
    strategy: Literal["auto", "ddp", "fsdp"]
    recompute: Literal["none", "v3", "block"]
    max_steps: int
    validate_every: int
    validation_batches: int | None
    checkpoint_every: int
    keep_checkpoints: int
    log_every: int
    n_threads: int | None
    compile: Literal["auto", "always", "never"] = "auto"

    def check(self) -> None:
        names = [f.name for f in fields(self) if f.type in (int, int | None)]
        self.require_positive(*names)

    @property
    def world_size(self) -> int:
        """Processes of the run, over all machines."""
        return self.devices * self.nodes


@dataclass(frozen=True, kw_only=True)
class ProfileSettings(CheckedConfig):
    """Which steps of a run are profiled (`profile`); the config of an older run has none."""

    steps: int = 0
    warmup: int = 3
    rows: int = 10

    def check(self) -> None:
        self.require_not_negative("steps", "warmup")
        self.require_positive("rows")
