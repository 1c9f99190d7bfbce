"""Gives every test one thread, and begins with the longest tests."""

import os

# The tests are tiny: more threads than one only wait for each other. Processes that tests start compute alike, to the
# bit. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

LONGEST = ("test_load.py", "test_sharded.py", "test_readme.py", "test_pairs.py")
"""What takes half a minute or more; begun last, one worker would be left with it when the others have ended."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
