"""One text from rank 0 reaches every other rank, over torch's store."""

import socket
import threading

import pytest

from deepseek_lab.command_line.ranks import Started
from deepseek_lab.experiment.rendezvous import hear, tell


@pytest.fixture(autouse=True)
def _ports(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1] - 1))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)


def test_three_ranks_that_start_in_any_order_share_a_text():
    heard = []
    ranks = [threading.Thread(target=lambda r=r: heard.append(hear(Started("srun", r, 3)))) for r in (1, 2)]
    for rank in ranks:
        rank.start()
    tell(Started("srun", 0, 3), "resume=/run of 'r'")
    for rank in ranks:
        rank.join(30)
    assert heard == ["resume=/run of 'r'"] * 2
