"""`scripts/plan.py` through its own entry: every job is planned, refused or asked right, and none is started."""

import json
import sys
import time

import pytest

from deepseek_lab.command_line import run_survey
from deepseek_lab.experiment import planning

SECONDS = 30
"""What 671B parameters may take on a busy machine; alone it is under six, most of it imports."""


@pytest.fixture
def plan(monkeypatch, capfd):
    """Runs scripts/plan.py in this process -> exit code, stdout, lines of stderr."""

    def run(*overrides):
        monkeypatch.setattr(sys, "argv", ["scripts/plan.py", *overrides])
        code = run_survey(
            "plan",
            "deepseek_lab.experiment.planning:plan",
            sheet_reads="deepseek_lab.experiment.configs:SHEET_READS",
        )
        out, err = capfd.readouterr()
        return code, out, err.splitlines()

    return run


@pytest.fixture
def as_json(plan):
    """The same with format=json -> the objects of all jobs, once the command succeeds without a word."""

    def run(*overrides):
        code, out, err = plan(*overrides, "format=json")
        assert (code, err) == (0, [])
        return [json.loads(line) for line in out.splitlines()]

    return run


def test_v3_in_seconds_and_as_its_paper_counts_it(as_json):
    """DeepSeek-V3 Table 1: 180K H800 hours a trillion tokens, 2,664K for 14.8T, 5.328M dollars at 2 an hour."""
    start = time.monotonic()
    (v3,) = as_json("experiment=deepseek_v3", "hardware=h800")
    assert time.monotonic() - start < SECONDS
    assert (v3["total_params"], v3["active_params"]) == (671_026_404_352, 37_552_282_624)
    assert (v3["active_params_no_embedding"], v3["mtp_params"]) == (36_625_603_584, 11_610_067_968)
    assert (v3["kv_cache_elements_per_token"], v3["kv_cache_bytes_per_token"]) == (35_136, 70_272)
    assert v3["tokens"] == pytest.approx(14.8e12, rel=1e-4)
    mfu = v3["flops_per_token"] * 1e12 / (180e3 * 3600 * v3["peak_flops_per_second"])
    assert 0.35 < mfu < 0.45
    (paper,) = as_json("experiment=deepseek_v3", "hardware=h800", "trainer.devices=512", f"mfu={mfu}")
    assert paper["device_hours"] == pytest.approx(2664e3, rel=1e-3)
    assert paper["hours"] == pytest.approx(2664e3 / 512, rel=1e-3)
    assert paper["cost"] == pytest.approx(5.328e6, rel=1e-3)
    assert (paper["fits"], paper["refused"]) == (False, None)


def test_an_ablation_gives_each_job_and_starts_none(as_json, monkeypatch, tmp_path):
    monkeypatch.setattr("deepseek_lab.experiment.train", None)
    jobs = as_json("ablation=attention", "seed=1", f"paths.logs={tmp_path}")
    assert [job["job"] for job in jobs] == [f"attention={kind}" for kind in ("mha", "gqa", "mqa", "mla")]
    assert len({job["kv_cache_elements_per_token"] for job in jobs}) == 4
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_with_an_impossible_job_says_why_and_plans_the_others(plan, as_json):
    fine, refused = as_json("-m", "model.n_heads=4,5", "attention=mha")
    assert fine["refused"] is None
    assert "model.n_heads" in refused["refused"]
    assert "total_params" not in refused
    code, out, err = plan("-m", "model.n_heads=4,5")
    assert (code, err) == (0, [])
    assert "model.n_heads=5: refused: model.n_heads = 5 does not cut model.dim=64" in " ".join(out.split())


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["model.dim=99"], "model.dim = 99 is odd"),
        (["model.n_heads=5"], "model.n_heads = 5 does not cut model.dim=64"),
        (["attention=mlaa"], "attention has no option 'mlaa'; did you mean 'mla'?"),
        (["model.dimm=5"], "model.dimm is unknown; did you mean 'model.dim'?"),
        (["format=yaml"], "format must be one of table, json, not 'yaml'"),
        (["cache_dtype=int3"], "cache_dtype must be one of"),
        (["mfu=0"], "mfu must be above 0"),
        (["mfu=40%"], "mfu must be a number"),
        (["data=text_files"], "data.corpus.path has no value"),
        (["data.batch_size=8", "trainer.devices=3"], "data.batch_size"),
    ],
)
def test_a_plan_that_cannot_be_made_is_one_line(plan, overrides, line):
    code, out, err = plan(*overrides)
    assert (code, out, len(err)) == (2, "", 1)
    assert line in err[0]


def test_every_refusal_has_its_reason_and_the_sweep_its_sum(plan, as_json):
    """A mistyped option, a size that cannot be built, a cut too coarse to match: each beside the jobs that can run."""
    sweep = ["-m", "attention=mha,mla,mlaa", "model.n_heads=4,5", "match=params", "match.tolerance=1e-4", "seed=1,2"]
    jobs = as_json(*sweep, "hardware=h100")
    reasons = {job["job"]: job["refused"] for job in jobs if job["refused"]}
    assert len(jobs) == 12
    assert len(reasons) == 10
    assert "attention has no option 'mlaa'; did you mean 'mla'?" in reasons["attention=mlaa model.n_heads=4 seed=1"]
    assert "model.n_heads = 5 does not cut" in reasons["attention=mha model.n_heads=5 seed=2"]
    assert "match.tolerance = 0.0001 cannot be met" in reasons["attention=mla model.n_heads=4 seed=1"]
    code, out, _ = plan(*sweep, "hardware=h100")
    assert code == 0
    assert out.count("refused") == 10
    assert "in all: 2 jobs" in out
    hours = sum(job["hours"] for job in jobs if not job["refused"])
    assert hours == pytest.approx(2 * jobs[0]["hours"])


def test_a_plan_says_what_matching_did(plan, as_json):
    mha, mla = as_json("-m", "attention=mha,mla", "match=params")
    assert (mha["match"]["residual"], mha["match"]["value"]) == (0, 192)
    assert mla["match"]["rule"] == "params"
    assert mla["match"]["target"] == mha["match"]["reached"]
    assert mla["match"]["reached"] == mla["total_params"] - 2 * 1024 * 64
    assert mla["match"]["residual"] == pytest.approx(mla["match"]["reached"] / mla["match"]["target"] - 1)
    _, out, _ = plan("-m", "attention=mha,mla", "match=params", "seed=1,2")
    assert "attention=mla: model.intermediate_size=196 (+0.60%)" in out
    assert as_json("attention=mla")[0]["match"] is None


def test_all_jobs_refused_is_no_success(plan):
    code, out, _ = plan("-m", "model.n_heads=5,7")
    assert code == 2
    assert out.count("refused") == 2


def test_a_plan_for_another_machine_is_no_matter_of_this_one(as_json):
    (job,) = as_json("trainer=gpu", "trainer.devices=8", "hardware=h100", "precision=bf16", "cache_dtype=fp8")
    assert (job["devices"], job["hardware"], job["fits"]) == (8, "h100", True)
    assert job["kv_cache_bytes_per_token"] == job["kv_cache_elements_per_token"]
    assert job["hours"] == pytest.approx(job["device_hours"] / 8)


def test_without_a_known_peak_the_time_is_unknown(plan, as_json, monkeypatch):
    monkeypatch.setattr(planning.torch.cuda, "is_available", lambda: False)
    (job,) = as_json("trainer=gpu")
    assert (job["hours"], job["peak_flops_per_second"]) == (None, None)
    assert "unknown: no peak FLOP/s" in plan("trainer=gpu")[1]


def test_devices_that_shard_hold_a_share_each(as_json):
    on = ["hardware=h100", "data.micro_batch_size=1"]
    alone, twice = as_json(*on)[0], as_json(*on, "trainer=ddp", "trainer.devices=2", "trainer.nodes=2")[0]
    shared = as_json(*on, "trainer=fsdp", "trainer.devices=2", "trainer.nodes=2")[0]
    assert (alone["devices"], twice["devices"], shared["devices"]) == (1, 4, 4)
    assert twice["memory"] == alone["memory"]
    assert shared["memory"]["optimizer"] == pytest.approx(alone["memory"]["optimizer"] / 4, abs=8)
    assert shared["memory"]["activations"] == alone["memory"]["activations"]


def test_what_is_recomputed_needs_no_memory(as_json):
    jobs = as_json("-m", "experiment=mini_v3", "trainer.recompute=none,v3,block")
    kept = [job["memory"]["activations"] for job in jobs]
    assert kept[0] > 1.3 * kept[1] > 1.3 * kept[2]


def test_a_typed_sheet_key_that_nothing_reads_is_one_warning(plan):
    code, _, err = plan("attention=mha", "model.kv_lora_rank=8")
    assert (code, len(err)) == (0, 1)
    assert err[0].startswith("warning: model.kv_lora_rank")


def test_the_table_fits_into_100_columns(plan, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    for overrides in (
        ["experiment=mini_v3"],
        ["-m", "attention=mha,mla", "experiment=mini_v2,mini_v3", "hardware=h800"],
    ):
        code, out, _ = plan(*overrides)
        assert code == 0
        assert max(map(len, out.splitlines())) <= 100
        assert "…" not in out
