"""Which jobs of a sweep run at once, and on which GPUs or with how many threads each.

A machine offers places: its GPUs, or the cores of its CPU. A job takes as many as it has processes (`trainer.devices`),
on a CPU times the threads of each. With `jobs_at_once` beyond the number of places they are shared.

Left out: binding threads to cores, which the system does well enough, and several machines (SLURM's business).
"""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

VISIBLE = "CUDA_VISIBLE_DEVICES"
THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a job asks of the machine: processes, whether they want GPUs, threads of each where it says so."""

    devices: int = 1
    gpu: bool = False
    n_threads: int | None = None


@dataclass(frozen=True)
class Slot:
    """Places that a job holds, and the environment that gives them to its processes."""

    places: tuple[str, ...]
    environment: Mapping[str, str]


class Slots:
    """The places of one machine, and who may still take some.

    needs: of all jobs of the sweep, finished ones included, so that a sweep that goes on deals out the same threads
    gpus: as CUDA_VISIBLE_DEVICES names them
    """

    def __init__(self, needs: Sequence[Needs], gpus: Sequence[str], cores: int, jobs_at_once: int | None) -> None:
        self.gpu = any(need.gpu for need in needs) and bool(gpus)
        self.cores = cores
        self.places = tuple(gpus) if self.gpu else tuple(map(str, range(cores)))
        self.typed = jobs_at_once
        self.at_once = jobs_at_once or min(len(self.places), sum(need.devices for need in needs))
        self.jobs_left = self.at_once
        self._free = Counter(dict.fromkeys(self.places, max(1, math.ceil(self.at_once / len(self.places)))))

    def take(self, need: Needs) -> Slot | None:
        """Places for a job, those with the fewest jobs first; None while there are not enough."""
        emptiest = [place for place, free in self._free.most_common() if free > 0]
        n_places = self._n_places(need)
        if not self.jobs_left or len(emptiest) < n_places:
            return None
        places = tuple(sorted(emptiest[:n_places], key=self.places.index))
        self._free.subtract(places)
        self.jobs_left -= 1
        return Slot(places, self._environment(need, places))

    def give_back(self, slot: Slot) -> None:
        """Frees the places of a job that has ended."""
        self._free.update(slot.places)
        self.jobs_left += 1

    def threads(self, need: Needs) -> int:
        """Threads of each process: the share of a job where their number was typed, else the share of a process."""
        return max(1, self.cores // self.at_once // (need.devices if self.typed else 1))

    def _n_places(self, need: Needs) -> int:
        each = 1 if self.gpu else need.n_threads or self.threads(need)
        return min(need.devices * each, len(self.places))

    def _environment(self, need: Needs, places: tuple[str, ...]) -> dict[str, str]:
        """A number of threads that the person set stands where it is smaller."""
        typed = os.environ.get(THREADS, "")
        threads = min(self.threads(need), int(typed)) if typed.isdecimal() else self.threads(need)
        return {THREADS: str(threads), **({VISIBLE: ",".join(places)} if self.gpu else {})}


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    import torch

    names = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    return (names or [str(index) for index in range(torch.cuda.device_count())])[: torch.cuda.device_count()]
