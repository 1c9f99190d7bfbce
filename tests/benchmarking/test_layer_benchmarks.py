"""The benchmarks of experts, head loss and optimisers: the contestants do the same work, and the figures are told."""

import io
import json

import pytest
import torch
from rich.console import Console

from deepseek_lab.benchmarking import experts, head_loss, optimizers
from deepseek_lab.benchmarking.contestants import Workload, our_model
from deepseek_lab.benchmarking.experts import Layer
from deepseek_lab.planning.counts import flops_per_token


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr("deepseek_lab.benchmarking.interleaved.sgemm_peak", lambda: 1e11)
    monkeypatch.setattr(Workload, "tokens_BT1", lambda self, number: torch.tensor([[number]]))


def shown(table):
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_mixture_and_dense_multiply_alike(monkeypatch, tmp_path):
    monkeypatch.setattr(experts, "DIM", 64)
    monkeypatch.setitem(experts.LAYERS, "tokens32", Layer(64, 8, 4, 32))
    both = experts.layers(experts.LAYERS["tokens32"])
    mixture, dense = both[experts.MIXTURE].experts, both[experts.DENSE]
    active = sum(weight[:4].numel() for weight in mixture.parameters())
    assert active == sum(weight.numel() for weight in dense.parameters())
    result = experts.measure("tokens32", 2, lambda line: None)
    assert {name: len(values) for name, values in result["seconds"].items()} == {"mixture": 2, "dense": 2}
    experts.save([result], tmp_path)
    assert json.loads((tmp_path / "experts.json").read_text()) == [result]
    step = {"row": experts.STEP, "seconds": {experts.MANY: [1.2], experts.FEW: [1.0]}}
    assert "1.20" in shown(experts.table([result, step]))


def test_rows_are_named_by_the_tokens_of_an_expert():
    assert {name: f"tokens{layer.tokens_an_expert}" for name, layer in experts.LAYERS.items()} == {
        name: name for name in experts.LAYERS
    }


def test_more_experts_leave_the_active_flops_of_a_step_as_they_are():
    with torch.device("meta"):
        flops = [flops_per_token(our_model(Workload("", batch=8, seq_len=512, n_experts=n)), 512) for n in (16, 64)]
    assert flops[1] == pytest.approx(flops[0], rel=0.02)


def test_the_chunked_loss_holds_less(monkeypatch, tmp_path):
    monkeypatch.setattr(head_loss, "DIM", 16)
    monkeypatch.setitem(head_loss.SHAPES, "V8192", (2048, 2048))
    result = head_loss.measure("V8192", 2, lambda line: None)
    assert head_loss.memory_ratio(result) > 2
    assert result["memory"]["plain"]["peak"] >= 2 * 4 * 2048 * 2048, "logits and their logarithms"
    head_loss.save([result], tmp_path)
    assert json.loads((tmp_path / "head_loss.json").read_text()) == [result]
    assert "V8192" in shown(head_loss.table([result]))


def test_another_loss_is_no_contestant(monkeypatch):
    monkeypatch.setitem(head_loss.SHAPES, "V8192", (64, 32))
    monkeypatch.setitem(head_loss.LOSSES, "plain", lambda *inputs: 2 * head_loss.plain(*inputs))
    with pytest.raises(ValueError, match="losses differ"):
        head_loss.measure("V8192", 1, lambda line: None)


def test_every_optimiser_moves_the_same_matrices(monkeypatch, tmp_path):
    monkeypatch.setitem(optimizers.ROWS, "1M", (16, 1))
    result = optimizers.measure("1M", 1, lambda line: None)
    assert list(result["seconds"]) == ["AdamW, fused", "AdamW, foreach", "AdamW, looped", "Muon", "torch.optim.Muon"]
    optimizers.save([result], tmp_path)
    assert "torch.optim.Muon" in shown(optimizers.table([result]))


def test_both_muons_go_one_way():
    made = optimizers.optimizers(16, 1)
    ours, theirs = made[optimizers.MUON], made[optimizers.THEIR_MUON]
    before = [p.detach().clone() for p in ours.param_groups[0]["params"]]
    ours.step()
    theirs.step()
    for old, our, their in zip(before, ours.param_groups[0]["params"], theirs.param_groups[0]["params"], strict=True):
        move, wanted = (our - old).flatten(), (their - old).flatten()
        assert torch.cosine_similarity(move, wanted, dim=0) > 0.99  # torch's is in bf16
        assert move.norm().item() == pytest.approx(wanted.norm().item(), rel=0.05)
