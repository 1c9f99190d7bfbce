"""Finished jobs of a sweep whose source has changed since: the same command makes them again, or keeps them.

A job's folder carries the hash of its config, so another config is another job by itself; the source is in no
name. `sweep_stale=rerun` moves the old runs out of the sweep before anything starts, whatever launcher follows;
`sweep_stale=keep` only names them. Nothing is deleted.

Left out: runs that wrote no hash of their source (older ones), which are kept, and unfinished ones, which go on and
note the new source in their `provenance.json`.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from deepseek_lab.command_line.naming import claim_folder
from deepseek_lab.config import ConfigError, nearest
from deepseek_lab.source import source_hash

RULES = ("rerun", "keep")
_SHOWN = 5


def is_stale(run: Path, now: str | None = None) -> bool:
    """Whether a finished run was made, or gone on with, by another source than `now` (None: this one)."""
    if not (run / "DONE").is_file():
        return False
    try:
        content = json.loads((run / "provenance.json").read_text())
        states = [content["source"], *(each["source"] for each in content.get("resumed") or [])]
        hashes = {state["hash"] for state in states}
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return hashes != {now or source_hash()}


def check_rule(rule: object) -> None:
    """Raises ConfigError for a value of `sweep_stale` that means nothing."""
    if rule not in RULES:
        raise ConfigError(f"must be rerun or keep, not {rule!r}{nearest(str(rule), RULES)}", "sweep_stale")


def treat_stale(runs: Sequence[Path], rule: str) -> str | None:
    """Moves the stale ones of `runs` beside their sweep (`rerun`) or leaves them; the line that says so, if any is."""
    stale = [run for run in dict.fromkeys(runs) if is_stale(run)]
    if not stale:
        return None
    names = ", ".join(run.name for run in stale[:_SHOWN]) + (", …" if len(stale) > _SHOWN else "")
    jobs = f"{len(stale)} finished {'job was' if len(stale) == 1 else 'jobs were'} made with another source"
    if rule == "keep":
        return f"{jobs}, kept as sweep_stale=keep says: {names}"
    aside = {_set_aside(run).parent for run in stale}
    return f"{jobs} and will run again (sweep_stale=keep keeps them): {names}; moved to {', '.join(map(str, aside))}"


def _set_aside(run: Path) -> Path:
    """Moves a run from `sweep/` to `sweep.stale/`, where older ones of its name may lie."""
    place = claim_folder(run.parent.with_name(f"{run.parent.name}.stale") / run.name)
    return run.rename(place)
