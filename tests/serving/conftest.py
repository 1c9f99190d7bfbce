"""One server for all tests that only talk to it."""

import pytest

from serving.live import LiveServer
from talking_run import talking_run

pytest.importorskip("fastapi")


@pytest.fixture(scope="session")
def talker(tmp_path_factory):
    return talking_run(tmp_path_factory.mktemp("served") / "talker")


@pytest.fixture(scope="session")
def server(talker):
    made = LiveServer(talker, "limits.body_bytes=20000", "limits.max_new_tokens=200", "limits.messages=5")
    yield made
    log = made.close()
    assert "Traceback" not in log, log
