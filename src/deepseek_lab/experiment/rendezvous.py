"""One text from rank 0 to the others, before any of them has joined a process group.

torchrun keeps a store for its ranks; under srun rank 0 opens one beside the port that training will use.
A store is torch's own key-value server over TCP, so ranks on other machines need no shared folder here.
"""

import os
import time
from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from deepseek_lab.command_line.ranks import Started

PATIENCE = timedelta(minutes=5)
"""Longer than any start of a script takes, import of torch on a slow disk included."""


def tell(me: Started, text: str) -> None:
    """Rank 0: leaves `text` and returns when every other rank has it, or PATIENCE has run out."""
    store = _store(me)
    store.set(_key("text"), text)
    deadline = time.monotonic() + PATIENCE.total_seconds()
    while store.add(_key("readers"), 0) < me.world_size - 1 and time.monotonic() < deadline:
        time.sleep(0.05)


def hear(me: Started) -> str:
    """Every other rank: the text that rank 0 tells. Raises torch's DistStoreError when none comes."""
    store = _store(me)
    text: str = store.get(_key("text")).decode()
    store.add(_key("readers"), 1)
    return text


def _store(me: Started) -> TCPStore:
    if me.by == "torchrun" and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        address, port, is_server = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), False
    else:
        address, port = _first_address()
        is_server = me.rank == 0
    return TCPStore(address, port, is_master=is_server, timeout=PATIENCE, wait_for_workers=False)


def _first_address() -> tuple[str, int]:
    """The machine of rank 0 and a port that training leaves free."""
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    nodes = os.environ.get("SLURM_NODELIST", "127.0.0.1")
    address = os.environ.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes)
    port = os.environ.get("MASTER_PORT") or str(15000 + int(os.environ.get("SLURM_JOB_ID", "0")[-4:]))
    return address, int(port) + 1


def _key(name: str) -> str:
    """Names of this start: torchrun keeps one store over all its restarts."""
    return f"deepseek_lab/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{name}"
