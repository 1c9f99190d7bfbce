"""How threads of the coming computation wait for each other, chosen by how busy the machine is at the start.

OpenMP's threads wait in a loop, which is quickest where each has a core. Beside busy programs the loop burns the time
of the very thread that it waits for: there they wait asleep. The OpenMP library reads the environment once, when torch
loads it, so this comes before; what a person set stands.
"""

import os
import time
from collections.abc import Callable, MutableMapping

from deepseek_lab.processor import BUSY, Moment, now, others

SET_BY_HAND = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
LEAST = 0.2
"""Seconds that are looked at; the command line is read meanwhile."""

BEGAN = now()
"""The start of this process, nearly."""


def wait_asleep_if_busy(
    since: Moment = BEGAN,
    look: Callable[[], Moment] = now,
    environment: MutableMapping[str, str] = os.environ,
) -> None:
    """Sets OMP_WAIT_POLICY where other programs keep cores busy and nobody has said how to wait."""
    if any(environment.get(name) for name in SET_BY_HAND) or since.everybody is None:
        return
    time.sleep(max(0.0, LEAST - (look().clock - since.clock)))
    theirs = others(since, look())
    if theirs is not None and theirs >= BUSY:
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
