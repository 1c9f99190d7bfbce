"""Training beside others: the same network, so the same loss and gradients; what is measured is written and drawn."""

import io
import json

import pytest
import torch
from rich.console import Console

from deepseek_lab.benchmarking import contestants, litgpt_network, training
from deepseek_lab.benchmarking.contestants import Workload, our_model, their_model
from deepseek_lab.benchmarking.published_weights import copy_weights
from deepseek_lab.objectives.next_token import chunked_cross_entropy

WORKLOADS = [Workload("experts", batch=2, seq_len=24, n_experts=8), Workload("Llama", batch=2, seq_len=24, n_experts=0)]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    sizes = {"_DIM": 64, "_LAYERS": 2, "_HEADS": 4, "_VOCABULARY": 128, "_DENSE_SIZE": 96, "_EXPERT_SIZE": 32}
    latent = {
        "q_lora_rank": 32, "kv_lora_rank": 16, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16,
    }  # fmt: skip
    for name, size in {**sizes, "_LATENT": latent}.items():
        monkeypatch.setattr(contestants, name, size)
    monkeypatch.setattr("deepseek_lab.benchmarking.interleaved.sgemm_peak", lambda: 1e11)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_first_loss_and_gradients_are_transformers(workload):
    theirs, ours, tokens = their_model(workload).train(), our_model(workload), workload.tokens_BT1(0)
    copy_weights(theirs, ours)
    hidden = ours(tokens[:, :-1]).hidden_BTD.flatten(0, 1)
    share = torch.full((workload.tokens_per_step,), 1 / workload.tokens_per_step)
    loss, _ = chunked_cross_entropy(hidden, ours.head_weight_VD, tokens[:, 1:].flatten(), share)
    targets = tokens[:, 1:].contiguous()
    wanted = theirs(tokens[:, :-1], labels=targets, shift_labels=targets).loss
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-6)
    loss.backward()
    wanted.backward()
    for parameter in theirs.parameters():
        parameter.data = parameter.grad
    gradients = our_model(workload)
    copy_weights(theirs, gradients)  # their gradients under our names
    for (name, parameter), gradient in zip(ours.named_parameters(), gradients.parameters(), strict=True):
        assert (parameter.grad - gradient).norm() <= 1e-5 * gradient.norm(), name


@pytest.mark.parametrize("installed", [False, True])
def test_every_contestant_is_timed_on_the_same_loss(installed, monkeypatch, tmp_path):
    if installed and not litgpt_network.is_installed():
        pytest.skip("litgpt is not installed")
    monkeypatch.setattr(training, "is_installed", lambda: installed)
    said = []
    results = [training.measure(workload, 2, said.append) for workload in WORKLOADS]
    for result in results:
        contestants_ = result["contestants"]
        assert set(contestants_) == {training.OURS, training.THEIRS, training.THEIRS_FUSED} | (
            {training.LITGPT} if installed else set()
        )
        first = [figures["losses"][0] for figures in contestants_.values()]
        assert max(first) - min(first) < 1e-5
    assert any("litgpt is not installed" in line for line in said) != installed
    training.save(results, {}, tmp_path)
    assert json.loads((tmp_path / "training.json").read_text())["results"] == results
    assert (tmp_path / "training.png").stat().st_size > 1000
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(training.table(results))
    assert "Llama" in console.export_text()


def test_compiled_blocks_are_a_contestant_of_their_own():
    result = training.measure(WORKLOADS[1], 1, lambda line: None, compiled=True)
    assert list(result["contestants"])[:2] == [training.OURS, training.COMPILED]
    losses = [figures["losses"] for figures in result["contestants"].values()]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)


def test_another_network_is_no_contestant(monkeypatch):
    def wrong(workload, fused):
        return lambda tokens: 7.0

    monkeypatch.setattr(training, "their_step", wrong)
    with pytest.raises(ValueError, match="first step differ"):
        training.measure(WORKLOADS[1], 1, lambda line: None)
