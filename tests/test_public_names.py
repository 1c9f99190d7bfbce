"""The names that others hold on to: each is imported as promised, does what it says, and drags in no more."""

import inspect
import json
import pkgutil
import subprocess
import sys

import pytest
import torch

from deepseek_lab import objectives
from deepseek_lab.command_line import run_survey
from tests.published_folders import VOCABULARY, theirs_of, write

OBJECTIVES = sorted(module.name for module in pkgutil.iter_modules(objectives.__path__))
COUNTED = (
    *("total_params", "active_params", "active_params_no_embedding", "mtp_params", "kv_cache_elements_per_token"),
    *("kv_cache_bytes_per_token", "flops_per_token", "peak_memory_bytes"),
)


def test_a_published_folder_is_loaded_asked_continued_and_saved(tmp_path):
    from deepseek_lab.checkpoint import load_pretrained, save_pretrained
    from deepseek_lab.generation import generate
    from deepseek_lab.model.transformer import Transformer

    assert list(inspect.signature(load_pretrained).parameters)[:3] == ["path", "dtype", "device"]
    theirs = theirs_of("deepseek_v3")
    model = load_pretrained(write(theirs, tmp_path / "there"), dtype=torch.float32, device="cpu")
    assert isinstance(model, Transformer)
    ids_BT = torch.arange(14).reshape(2, 7)
    with torch.no_grad():
        logits_BTV = model(ids_BT).logits
        torch.testing.assert_close(logits_BTV, theirs(ids_BT).logits, rtol=1e-4, atol=1e-4)
    assert logits_BTV.shape == (2, 7, VOCABULARY)

    text = generate(model, ids_BT, max_new_tokens=5, temperature=0.0)
    asked = theirs.generate(ids_BT, attention_mask=torch.ones_like(ids_BT), max_new_tokens=5, do_sample=False)
    assert torch.equal(text[:, : asked.shape[1]], asked)
    ragged = generate(model, [ids_BT[0, :3].tolist(), ids_BT[1].tolist()], max_new_tokens=5)
    padded = torch.cat([torch.zeros(1, 4, dtype=torch.long), ids_BT[:1, :3]], 1)
    valid_BT = torch.arange(7)[None] >= 4
    left = generate(model, padded, max_new_tokens=5, valid_BT=valid_BT)
    assert ragged[0, -8:].tolist() == left[0, -8:].tolist()
    assert torch.equal(ragged[1], text[1])

    save_pretrained(model, tmp_path / "back")
    assert torch.equal(load_pretrained(str(tmp_path / "back"))(ids_BT).logits, model(ids_BT).logits)


def test_what_is_no_public_name_is_an_attribute_error():
    from deepseek_lab import checkpoint

    with pytest.raises(AttributeError, match="has no attribute 'load_pretraine'"):
        checkpoint.load_pretraine  # noqa: B018


def test_packages_wait_for_nothing_that_they_do_not_need():
    """In a process of its own, whose modules are its own."""
    code = f"""
import sys, importlib
import deepseek_lab.checkpoint
assert "torch" not in sys.modules, "checkpoint imports torch"
for name in {OBJECTIVES}:
    importlib.import_module("deepseek_lab.objectives." + name)
from deepseek_lab.checkpoint import load_pretrained
heavy = {{"lightning", "hydra", "omegaconf", "transformers", "datasets", "tensorboard"}} & sys.modules.keys()
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_is_a_function_of_values(name):
    module = __import__(f"deepseek_lab.objectives.{name}", fromlist=["_"])
    own = [value for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    assert not any(isinstance(value, type) and issubclass(value, torch.nn.Module) for value in own)


def test_a_loss_is_called_without_a_trainer():
    from deepseek_lab.objectives.next_token import chunked_cross_entropy
    from deepseek_lab.objectives.preference import bradley_terry

    generator = torch.Generator().manual_seed(0)
    hidden_ND, head_VD = torch.randn(6, 8, generator=generator), torch.randn(11, 8, generator=generator)
    targets_N = torch.arange(6)
    loss, _ = chunked_cross_entropy(hidden_ND, head_VD, targets_N, torch.full((6,), 1 / 6))
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(hidden_ND @ head_VD.T, targets_N))
    assert "Tensor" in str(inspect.signature(bradley_terry))


def test_a_plan_is_one_object_a_job(monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["scripts/plan.py", "model=nano", "-m", "attention=mha,mla", "format=json"])
    reads = "deepseek_lab.experiment.configs:SHEET_READS"
    assert run_survey("plan", "deepseek_lab.experiment.planning:plan", sheet_reads=reads) == 0
    jobs = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert len(jobs) == 2
    assert all(isinstance(job[name], (int, float)) for job in jobs for name in COUNTED)
    assert jobs[1]["kv_cache_elements_per_token"] < jobs[0]["kv_cache_elements_per_token"]
