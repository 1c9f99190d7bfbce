"""The benchmark of recomputation: its counts are exact, its table holds what it measured."""

import json

import torch
from rich.console import Console

from deepseek_lab.benchmarking import recompute
from deepseek_lab.benchmarking.live_memory import LiveMemory, resident_growth


def test_live_memory_counts_what_is_held_and_the_most_at_any_time():
    owned = torch.ones(1000)
    with LiveMemory([owned]) as live:
        kept = owned * 2
        passing = torch.empty(5000)
        view = kept[:10].view(2, 5)
        del passing
        assert live.now() == 4 * 1000
        del kept
        assert live.now() == 4 * 1000, "a view holds the memory"
        del view
        assert live.now() == 0
    assert live.peak == 4 * 6000


def test_live_memory_sees_what_autograd_keeps():
    x = torch.ones(1000, requires_grad=True)
    with LiveMemory([x]) as live:
        loss = x.sin().exp().sum()
        assert live.now() == 4 * (1000 + 1), "exp keeps its result, sin its input"
        loss.backward()


def test_the_process_grows_by_what_a_call_takes():
    growth = resident_growth(lambda: torch.ones(20_000_000).sum())
    assert growth is None or 70e6 < growth < 120e6


def test_it_measures_every_choice(tmp_path, monkeypatch):
    monkeypatch.setitem(recompute.SHAPES, "small", (64, 2))
    monkeypatch.setattr(recompute, "SEQ_LEN", 64)
    result = recompute.measure("small", batch=1, rounds=1, report=lambda line: None)
    choices = result["choices"]
    assert list(choices) == ["none", "v3", "block"]
    assert choices["block"]["kept"] < choices["v3"]["kept"] < choices["none"]["kept"] < choices["none"]["peak"]
    recompute.save([result], tmp_path)
    assert json.loads((tmp_path / "recompute.json").read_text()) == [result]
    console = Console(record=True, width=100)
    console.print(recompute.table([result]))
    text = console.export_text()
    assert all(how in text for how in choices)
