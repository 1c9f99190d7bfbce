"""How many threads a run computes with, where nobody said.

An operation of a small network takes microseconds, and threads that wait for each other at the end of each gain little
on an idle machine and lose much on a busy one: with other programs on both of two cores, two threads took 14 times as
long as one for `nano`, 5 times for `micro`.

Left out: a look at how busy the machine is. The number of threads decides in which order sums are added up, so it
depends on the config alone, and a run gives the same numbers again.
"""

import os

import torch

SMALL = 1e10
"""FLOPs of a forward and backward pass up to which one thread does: `micro` with rows of 128 has 0.6 of it."""


def use_threads(n_threads: int | None) -> None:
    """Threads of this process, and of the ranks it starts; None leaves both to torch and Lightning."""
    if n_threads:
        torch.set_num_threads(n_threads)
        os.environ["OMP_NUM_THREADS"] = str(n_threads)


def default_threads(flops_of_a_pass: float, on_cpu: bool) -> int | None:
    """One for a small network on a CPU; None, which leaves it to torch, otherwise and where OMP_NUM_THREADS says it."""
    typed = bool(os.environ.get("OMP_NUM_THREADS"))
    return 1 if on_cpu and not typed and flops_of_a_pass <= SMALL else None
