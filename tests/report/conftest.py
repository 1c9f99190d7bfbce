"""Run folders as a finished run leaves them, with losses that a test chooses."""

import json
import math

import pytest

CHOICES = {"model": "micro", "attention": "mha", "ffn": "dense", "balance": "none", "experiment": None}
VALIDATED = range(0, 601, 50)


class Runs:
    """Writes run folders below one folder."""

    def __init__(self, folder):
        self.folder = folder
        self.number = 0

    def summary(self, attention, seed, bits, choices, overrides, **changes):
        return {
            "name": f"attention-{attention}",
            "stage": "pretrain",
            "seed": seed,
            "choices": {**CHOICES, "attention": attention, **(choices or {})},
            "overrides": [f"attention={attention}", f"seed={seed}", *overrides],
            "counts": {
                "total_params": 1_060_000,
                "active_params": 1_060_000,
                "mtp_params": 0,
                "flops_per_token": 6e6,
            },
            "kv_cache_bytes_per_token": 3072,
            "steps": 600,
            "tokens": 614_400,
            "seconds": 51.0,
            "tokens_per_second": 12_000.0,
            "metrics": {"val/loss": bits * 1.7, "val/bits_per_byte": bits},
            "baselines": {"trigram_bits_per_byte": 2.73},
            "data": {"hash": "abc", "content": "def"},
            **changes,
        }

    def add(self, attention="mha", seed=1, bits=2.2, choices=None, overrides=(), job=None, ablation=None, **changes):
        """One finished run; `job` None counts up, `ablation` is what its stored config asks."""
        folder = self.folder / f"attention-{attention}_seed-{seed}-{self.number:08x}"
        job = self.number if job is None else job
        self.number += 1
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra" / "hydra.yaml").write_text(f"hydra:\n  job:\n    num: {job}\n")
        config = {"trainer": {"max_steps": 600}, **({"ablation": ablation} if ablation else {})}
        (folder / ".hydra" / "config.yaml").write_text(json.dumps(config))
        rows = [self.row(step, bits) for step in VALIDATED]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "summary.json").write_text(
            json.dumps(self.summary(attention, seed, bits, choices, overrides, **changes))
        )
        (folder / "DONE").touch()
        return folder

    @staticmethod
    def row(step, bits):
        value = bits + 4.5 * math.exp(-step / 90)
        losses = {"val/loss": value * 1.7, "val/bits_per_byte": value}
        return {"step": step, "train/tokens": step * 1024, "perf/seconds": step / 12, **losses}

    def stop(self, attention="mha", seed=9, log=None):
        """A run that came to step 600 of 600 rows but has no DONE; `log` is what it printed."""
        folder = self.add(attention, seed)
        (folder / "DONE").unlink()
        (folder / "summary.json").unlink()
        if log is not None:
            (folder / "log.txt").write_text(log)
        return folder


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "sweep")


@pytest.fixture
def three_seeds(runs):
    """Three attentions with three seeds each, job by job: mla is better for certain, gqa is not."""
    for seed, noise in ((1, 0.00), (2, 0.03), (3, -0.02)):
        runs.add("mha", seed, 2.20 + noise)
        runs.add("gqa", seed, 2.20 - noise, kv_cache_bytes_per_token=1536)
        runs.add("mla", seed, 2.10 + 1.1 * noise, kv_cache_bytes_per_token=960)
    return runs.folder


@pytest.fixture
def sweep(runs):
    """Four attentions with one seed, the baseline with two, job by job."""
    runs.add("mha", 1, 2.200)
    runs.add("mqa", 1, 2.260)
    runs.add("gqa", 1, 2.215)
    runs.add("mla", 1, 2.180)
    runs.add("mha", 2, 2.220)
    return runs.folder
