"""Which of several processes this one is, and how those that start together agree on one command line.

Three kinds of starter: torchrun and srun start every rank at once with the same command; Lightning lets
rank 0 run alone up to the first step and then starts the others with the line that rank 0 made. In the
first two rank 0 alone composes, checks, finds the run to resume and claims a folder; the others wait for
the result and write nothing of their own.

Left out: the message itself (experiment/rendezvous, which needs torch) and everything after the start.
"""

import json
import os
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from deepseek_lab.command_line.jobs import Job, imported

TELL = "deepseek_lab.experiment.rendezvous:tell"
HEAR = "deepseek_lab.experiment.rendezvous:hear"


@dataclass(frozen=True)
class Started:
    """Who started this process, and as which of how many; a plain command is rank 0 of 1."""

    by: Literal["hand", "lightning", "torchrun", "srun"] = "hand"
    rank: int = 0
    world_size: int = 1

    @property
    def together(self) -> bool:
        """Whether all ranks run the command line at the same time."""
        return self.by in ("torchrun", "srun") and self.world_size > 1


def started(environment: Mapping[str, str] = os.environ) -> Started:
    """Reads what the starters leave in the environment; a script inside sbatch but without srun is one process."""
    if "TORCHELASTIC_RUN_ID" in environment:
        return Started("torchrun", int(environment["RANK"]), int(environment["WORLD_SIZE"]))
    if "SLURM_PROCID" in environment and int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return Started("srun", int(environment["SLURM_PROCID"]), int(environment["SLURM_NTASKS"]))
    if int(environment.get("LOCAL_RANK", "0")) > 0:  # only Lightning sets it on ranks it starts, never on rank 0
        return Started("lightning", int(environment["LOCAL_RANK"]), int(environment.get("WORLD_SIZE", "1")))
    return Started()


def planned_once(args: Namespace, plan: Callable[[], list[Job]]) -> list[Job]:
    """`plan()` on rank 0; the other ranks get what it made of `args`, and no jobs to check.

    Where rank 0 refuses the command the others end without a word and without an error: rank 0 says why, and
    torchrun would stop it in the middle of its line if another rank failed first.
    """
    me = started()
    if not me.together:
        return plan()
    if me.rank:
        plans = json.loads(imported(HEAR)(me))
        if "overrides" not in plans:
            raise SystemExit(0)
        args.overrides, args.multirun = [*plans["overrides"], "hydra.output_subdir=null"], False
        return []
    try:
        jobs = plan()
    except BaseException:
        imported(TELL)(me, json.dumps({}))
        raise
    imported(TELL)(me, json.dumps({"overrides": args.overrides}))
    return jobs
