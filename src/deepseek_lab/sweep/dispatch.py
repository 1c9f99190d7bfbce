"""Runs the jobs of a sweep, each in a process of its own, as many at once as there are slots.

Finished jobs are passed over; one that another process writes is left to it. A failure is shown at once with the end
of its log and stops nothing else. Ctrl-C (or SIGTERM, a closed terminal, a scheduler's warning) asks the running jobs
to save and stop, a second one kills them; when this process is killed, they end with it (command_line/lifeline).
"""

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from deepseek_lab.command_line import lifeline
from deepseek_lab.command_line.run_lock import is_written
from deepseek_lab.sweep.board import Board, Standing
from deepseek_lab.sweep.job_process import LOG, JobProcess, PlannedJob, ending
from deepseek_lab.sweep.slots import Slots

_LOOK_EVERY = 0.1
"""Seconds between two looks at the running jobs."""

Failed = Callable[[PlannedJob, int], None]


class Dispatch:
    """The queue of a sweep and what runs of it; `run` returns when nothing does any more."""

    def __init__(self, jobs: Sequence[PlannedJob], slots: Slots, failed: Failed, log_lines: int = 12) -> None:
        """failed: called once a failed job, with the exit code. log_lines: of its log that are shown."""
        self.slots = slots
        self.failed = failed
        self.log_lines = log_lines
        self.standings = [Standing(job, "finished before" if job.finished else "queued") for job in jobs]
        self.board = Board(self.standings)
        self._queue = deque(standing for standing in self.standings if standing.state == "queued")
        self._running: dict[int, tuple[Standing, JobProcess]] = {}
        self._asked_to_stop = 0
        self._heard = 0
        self._signal = 0

    def run(self) -> None:
        """Runs what is not finished. Raises KeyboardInterrupt when it was asked to stop."""
        with lifeline.held() as environment, _signals(self._on_signal) as before, self.board:
            try:
                while self._running or (self._queue and not self._asked_to_stop):
                    self._start_what_fits(environment)
                    time.sleep(_LOOK_EVERY)
                    self._hear_signals()
                    self._collect()
            finally:
                for _, process in self._running.values():
                    process.kill()
        if self._asked_to_stop:
            self._say_stopped()
            self._hand_on(before)
            raise KeyboardInterrupt

    def _start_what_fits(self, environment: Mapping[str, str]) -> None:
        """Jobs start in their order: one that waits for several places is not overtaken for ever."""
        while self._queue and not self._asked_to_stop:
            standing = self._queue[0]
            if is_written(standing.job.folder):
                self._queue.popleft()
                self._fail(standing, 2, ["another process writes this run"])
                continue
            slot = self.slots.take(standing.job.needs)
            if slot is None:
                return
            self._queue.popleft()
            standing.started = time.monotonic()
            try:
                self._running[id(standing)] = standing, JobProcess(standing.job, slot, environment)
            except OSError as error:
                self.slots.give_back(slot)
                self._fail(standing, 1, [str(error)])
                continue
            self._now(standing, "running")

    def _collect(self) -> None:
        """Takes note of the jobs that have ended."""
        for key, (standing, process) in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[key]
            self.slots.give_back(process.slot)
            standing.ended = time.monotonic()
            if standing.job.finished:
                self._now(standing, "finished")
            elif self._asked_to_stop:
                self._now(standing, "stopped")
            else:
                self._fail(standing, code, standing.job.log_end(self.log_lines))

    def _now(self, standing: Standing, state: str) -> None:
        standing.state = state
        self.board.changed(standing)

    def _fail(self, standing: Standing, code: int, lines: Sequence[str]) -> None:
        """Says at once that a job has failed and why."""
        standing.state = "failed"
        job = standing.job
        log = f"; the end of {job.folder / LOG}:" if standing.ended else ":"
        self.board.say(f"error: {job.name} failed ({ending(code)}){log}", "red")
        for line in lines:
            self.board.say(f"    {line}")
        self.failed(job, code if code > 0 else 1)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked_to_stop += 1
        self._signal = number

    def _hand_on(self, before: Mapping[int, Any]) -> None:
        """Whoever handled the signal before gets it now, when all jobs have saved: it may end this process."""
        handler = before.get(self._signal)
        if callable(handler) and handler is not signal.default_int_handler:
            handler(self._signal, None)

    def _hear_signals(self) -> None:
        """Passes on what was asked since the last look."""
        if self._asked_to_stop == self._heard:
            return
        first, self._heard = self._heard == 0, self._asked_to_stop
        if first and self._running:
            self.board.say(f"stopping {len(self._running)} jobs after their step (Ctrl-C again kills them)", "yellow")
        for _, process in self._running.values():
            process.stop() if first and self._asked_to_stop == 1 else process.kill()

    def _say_stopped(self) -> None:
        done = sum(standing.job.finished for standing in self.standings)
        self.board.say(
            f"stopped: {done} of {len(self.standings)} jobs are finished; the same command goes on", "yellow"
        )


@contextmanager
def _signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[Mapping[int, Any]]:
    """What stops a run goes to `handler`, and who had it before is given; what the starter ignores (nohup) stays so."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield before
    finally:
        for taken, old in before.items():
            signal.signal(taken, old)
