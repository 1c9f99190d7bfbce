"""How rank 0 starts the other ranks of one machine, and how each notices that another has died.

Lightning's launcher kills the whole run, without a word, some seconds after a rank ended badly, and ranks
that outlive rank 0 may wait for it half an hour. Here a dead rank first gives the others a few seconds to
meet their own error (gloo reports a broken connection at once); what still waits then says one line and ends.

Left out: torchrun and srun, which start and watch all ranks themselves.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from lightning.fabric.plugins import ClusterEnvironment
from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

PATIENCE = 5.0
"""Seconds that a surviving rank has to end by itself."""


class WatchedLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher with an observer that speaks."""

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """Starts the other ranks and calls `function` on this one."""
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        self._call_children_scripts()
        _watch(lambda: lost_child(self.procs), lambda: end(self.procs))
        _set_num_threads_if_needed(num_processes=self.num_processes)
        return function(*args, **kwargs)


def launcher(environment: ClusterEnvironment, num_processes: int, num_nodes: int) -> WatchedLauncher | None:
    """The launcher of rank 0; None on the ranks it starts, which watch rank 0, and where another starter watches."""
    if not environment.creates_processes_externally:
        return WatchedLauncher(environment, num_processes, num_nodes)
    if type(environment).__name__ == "LightningEnvironment":
        parent = os.getppid()
        _watch(lambda: "rank 0" if os.getppid() != parent else None, lambda: None)
    return None


def lost_child(processes: Sequence["subprocess.Popen[bytes]"]) -> str | None:
    """The first rank that ended with an error, and how; None while all are well."""
    codes = [process.poll() for process in processes]
    return next((f"rank {i + 1} (exit code {code})" for i, code in enumerate(codes) if code), None)


def end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Kills the processes that still run: one that waits for a dead rank hears no other signal."""
    for process in processes:
        process.kill()
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)


def _watch(lost: Callable[[], str | None], before_the_end: Callable[[], None]) -> None:
    """A thread that ends this process when `lost` names a rank and the process has not ended by itself."""

    def look() -> None:
        while not (name := lost()):
            time.sleep(1.0)
        time.sleep(PATIENCE)
        print(f"error: {name} of this run is gone; its last checkpoint is kept", file=sys.stderr, flush=True)
        before_the_end()
        os._exit(1)

    threading.Thread(target=look, daemon=True, name="rank-watch").start()
