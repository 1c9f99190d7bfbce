"""The state of this source in one hash, so that a run can say what made it and a sweep whether that has changed.

Left out of the hash: what reads finished runs and trains none, or an edited report would make every run look old.
Git's commit is no substitute: it says nothing of changed files, and an installed package has none.
"""

import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent

TRAINS_NOTHING = frozenset({"report", "benchmarking", "serving"})
"""Folders of the package that no training imports."""


@cache
def source_hash(package: Path = PACKAGE) -> str:
    """16 hex digits of sha256 over names and bytes of the package's Python files, as they were when first asked for."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package)
        if name.parts[0] not in TRAINS_NOTHING:
            digest.update(f"{name.as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
