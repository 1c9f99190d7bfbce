"""One server for all tests that only talk to it."""

import pytest

from serving.live import LiveServer
from talking_run import talking_run
from tests.experiment.test_published import talking

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


@pytest.fixture(scope="session")
def hub_server(tmp_path_factory):
    """A server of some/talker on the hub, and the folder of its cache that it lies in."""
    cache = tmp_path_factory.mktemp("hub")
    folder = cache / "models--some--talker" / "snapshots" / ("0123abcd" * 5)
    folder.parent.mkdir(parents=True)
    (cache / "models--some--talker" / "refs").mkdir()
    (cache / "models--some--talker" / "refs" / "main").write_text(folder.name)
    talking(folder)
    made = LiveServer("some/talker", HF_HUB_CACHE=str(cache), HF_HUB_OFFLINE="1")
    yield made, folder
    log = made.close()
    assert "Traceback" not in log, log
