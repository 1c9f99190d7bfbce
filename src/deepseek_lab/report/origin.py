"""Where a run comes from: the state of the source it was made with, and the command that makes it again."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseek_lab.report.run_files import PROVENANCE, json_object, yaml_at

KEEPS = frozenset({"sweep", "sweep_stale", "sweep_report", "resume", "paths"})
"""Top-level keys that say where a run was kept, not what it is."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Commit of the source; `dirty` when files differed from it; `source` its hash, where one was taken.

    A run that went on with another source than it began with is `mixed`.
    """

    commit: str | None
    dirty: bool
    source: str | None
    mixed: bool

    @property
    def words(self) -> str:
        """`4f27006`, `4f27006 + changes` or `unknown`."""
        if self.commit is None:
            return f"source {self.source[:7]}" if self.source else "unknown"
        words = self.commit[:7] + (" + changes" if self.dirty else "")
        return f"{words}, went on with another" if self.mixed else words

    def same_source(self, other: "Origin") -> bool | None:
        """Whether both were made by the same source; None when changed files leave it unknown."""
        if self.source and other.source:
            return self.source == other.source
        if self.commit is None or other.commit is None or (self.commit == other.commit and (self.dirty or other.dirty)):
            return None
        return self.commit == other.commit


def read_origin(folder: Path) -> Origin:
    """What `provenance.json` says; a run without a readable one has an unknown origin."""
    try:
        content = json_object(folder / PROVENANCE, (folder / PROVENANCE).read_text(encoding="utf-8"))
        states = [content["source"], *(each["source"] for each in content.get("resumed") or [])]
        return _origin(states)
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError):
        return Origin(commit=None, dirty=False, source=None, mixed=False)


def _origin(states: Sequence[dict[str, Any]]) -> Origin:
    """The state a run began with; later ones only count when they differ."""
    first = states[0]
    commits = {state.get("commit") for state in states}
    sources = {state.get("hash") for state in states}
    return Origin(
        commit=first.get("commit"),
        dirty=any(state.get("dirty") for state in states),
        source=first.get("hash"),
        mixed=len(commits) > 1 or len(sources) > 1,
    )


def typed_overrides(folder: Path) -> tuple[str, ...]:
    """What was typed for a run, finished or not (`.hydra/overrides.yaml`)."""
    lines = yaml_at(folder / ".hydra" / "overrides.yaml")
    return tuple(map(str, lines)) if isinstance(lines, list) else ()


def command(overrides: Sequence[str]) -> str:
    """The command that makes a run again, alone, in a folder of its own.

    An ablation's file asks for its whole sweep; `hydra.mode=RUN` keeps this one job of it.
    """
    kept = [line for line in overrides if line.lstrip("+~").split("=")[0].split(".")[0] not in KEEPS]
    alone = ["hydra.mode=RUN"] if any(line.startswith("ablation=") for line in kept) else []
    return shlex.join(["python", "scripts/train.py", *kept, *alone])
