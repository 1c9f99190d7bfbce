"""A job of SLURM that is put back into its queue goes on in the folders that it had, and puts itself back in time.

SLURM starts a requeued job with the command line that it was submitted with, under the same number: each run and
sweep notes that number beside what was typed, and a start that is not the job's first looks for its note. SIGUSR1 or
SIGUSR2 (`sbatch --signal=USR1@90`) is SLURM's word that the time is nearly over: what runs saves and stops, and then
the job is requeued.

Left out: jobs of `hydra/launcher=slurm`, whose folders are named before they start and which submitit requeues.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from deepseek_lab.command_line.lifeline import in_a_sweep
from deepseek_lab.command_line.outcome import say
from deepseek_lab.command_line.ranks import started
from deepseek_lab.disk import naming

NOTE = ".slurm.json"
WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)


def job_number(environment: Mapping[str, str] = os.environ) -> str | None:
    """The number of the job that this process belongs to, as `scontrol` takes it; None outside SLURM."""
    if "SLURM_ARRAY_JOB_ID" in environment:
        return f"{environment['SLURM_ARRAY_JOB_ID']}_{environment.get('SLURM_ARRAY_TASK_ID', '0')}"
    return environment.get("SLURM_JOB_ID") or None


def note_job(folder: Path, typed: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
    """Leaves in a new folder which job made it with which overrides; nothing outside SLURM."""
    if number := job_number(environment):
        with naming(folder / NOTE):
            (folder / NOTE).write_text(json.dumps({"job": number, "typed": list(typed)}))


def folder_of_this_job(beside: Path, typed: Sequence[str], environment: Mapping[str, str] = os.environ) -> Path | None:
    """The folder beside `beside` that an earlier start of a requeued job made with the same overrides.

    Where it typed them several times, the first that is not finished, else the first; None at a job's first start.
    """
    if environment.get("SLURM_RESTART_COUNT", "0") == "0":
        return None
    wanted = {"job": job_number(environment), "typed": list(typed)}
    found = [note.parent for note in sorted(beside.parent.glob(f"*/{NOTE}")) if _read(note) == wanted]
    return next((folder for folder in found if not (folder / "DONE").exists()), found[0] if found else None)


def _read(note: Path) -> object:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(note.read_text())
    return None


@contextlib.contextmanager
def requeued_in_time() -> Iterator[None]:
    """A block in which SLURM's warnings put the job back into the queue, once what runs has saved and hands them on.

    Only where nobody else handles them, and not in a sweep's jobs: the sweep waits for all of them first.
    """
    in_main = threading.current_thread() is threading.main_thread()
    mine = in_main and job_number() is not None and not started().rank and not in_a_sweep()
    free = [number for number in WARNINGS if mine and signal.getsignal(number) == signal.SIG_DFL]
    for number in free:
        signal.signal(number, _requeue)
    try:
        yield
    finally:
        for number in free:
            signal.signal(number, signal.SIG_DFL)


def _requeue(number: int, frame: FrameType | None) -> None:
    command = ["scontrol", "requeue", str(job_number())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        problem = done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""
    except OSError as error:
        problem = str(error)
    say(f"{' '.join(command)}: {problem or 'the job is back in the queue and goes on from here'}", "slurm")
