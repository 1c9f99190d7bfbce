"""How many threads a run computes with, where nobody said.

An operation of a small network takes microseconds, and threads that wait for each other at the end of each gain little
on an idle machine and lose much on a busy one: with other programs on both of two cores, two threads took 14 times as
long as one for `nano`, 5 times for `micro`.

Beside busy programs a larger network takes a thread for each core that they leave, and threads that wait do so asleep:
spinning they would burn the time of the ones they wait for. The number of threads decides in which order sums are
added up, so a run keeps the number that it began with when it goes on.

Left out: jobs of a sweep and ranks, which are each other's busy programs; their threads are dealt out.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from deepseek_lab.command_line.lifeline import in_a_sweep
from deepseek_lab.command_line.ranks import started
from deepseek_lab.command_line.waiting import BEGAN
from deepseek_lab.experiment.configs import ExperimentConfigs
from deepseek_lab.planning.counts import Counts
from deepseek_lab.processor import Moment, free_cores, now, others, usable_cores

SMALL = 1e10
"""FLOPs of a forward and backward pass up to which one thread does: `micro` with rows of 128 has 0.6 of it."""


def use_threads(n_threads: int | None) -> None:
    """Threads of this process, and of the ranks it starts; None leaves both to torch and Lightning."""
    if n_threads:
        torch.set_num_threads(n_threads)
        os.environ["OMP_NUM_THREADS"] = str(n_threads)


@dataclass(frozen=True)
class Threads:
    """How many; None leaves it to torch. `why`: what the banner says of a number that nobody typed, if anything."""

    number: int | None
    why: str = ""


def threads_of_run(configs: ExperimentConfigs, counts: Counts, saved: Mapping[str, Any], device_type: str) -> Threads:
    """The threads of a training run; `saved`: the checkpoint that it goes on from, empty for a fresh run."""
    data, ranks, on_cpu = configs.data, configs.trainer.world_size, device_type == "cpu"
    rows = data.micro_batch_size or data.batch_size // ranks
    default = default_threads(rows * data.seq_len * counts.flops_per_token, on_cpu)
    had = saved["run"].get("n_threads") if saved and on_cpu else None
    return chosen_threads(configs.trainer.n_threads, had, default, BEGAN if on_cpu and ranks == 1 else None)


def chosen_threads(typed: int | None, had: int | None, default: int | None, since: Moment | None) -> Threads:
    """What was typed, else what the run began with, else the default, else what others have left since a moment.

    typed: `trainer.n_threads`; OMP_NUM_THREADS counts as typed, too, unless a sweep dealt it out
    had: what a checkpoint says
    since: None where others do not matter (a GPU, several ranks)
    """
    said = typed is not None or (bool(os.environ.get("OMP_NUM_THREADS")) and not in_a_sweep())
    if had is not None and not said:
        other = had != (default or torch.get_num_threads())
        return Threads(had, f"{had}, as the run began, so that its numbers stay" if other else "")
    if typed is not None or default is not None or said or since is None or in_a_sweep() or started().world_size > 1:
        return Threads(typed or default)
    theirs = others(since, now())
    free = free_cores(theirs)
    if free is None or free >= torch.get_num_threads():
        return Threads(None)
    cores = usable_cores()
    why = f"{free}: other programs keep {theirs:.1f} of {cores} cores busy; trainer.n_threads={cores} takes all"
    return Threads(free, why)


def default_threads(flops_of_a_pass: float, on_cpu: bool) -> int | None:
    """One for a small network on a CPU; None, which leaves it to torch, otherwise and where OMP_NUM_THREADS says it."""
    typed = bool(os.environ.get("OMP_NUM_THREADS"))
    return 1 if on_cpu and not typed and flops_of_a_pass <= SMALL else None
