"""A project of which a run takes a second and no torch, for tests of launchers: its conf/ folder and its script.

`python tests/toy_project.py --config-path CONF [-m] seed=1,2 …`. A run counts to `trainer.max_steps`, a checkpoint a
step, and goes on where it was cut off; with `trainer.devices` it starts ranks as Lightning does.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from deepseek_lab.command_line import PROJECT_ROOT, run_command
from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.source import source_hash
from deepseek_lab.stages.errors import Interrupted

TRAINER = {
    **{"devices": 1, "accelerator": "cpu", "n_threads": None, "max_steps": 5},
    **{"pause": 0.05, "fail_seeds": [], "slow_seeds": []},
}

ABLATION = {"hydra": {"mode": "MULTIRUN", "sweeper": {"params": {"seed": "1,2,3,4"}}}}


def write_conf(folder):
    """A conf/ folder with the real train.yaml's folders and launcher; runs go to logs/ beside it."""
    train = yaml.safe_load((PROJECT_ROOT / "conf" / "train.yaml").read_text())
    quiet = [entry for entry in train["defaults"] if any(str(key).startswith("override hydra") for key in entry)]
    train["defaults"] = ["_self_", {"trainer": "cpu"}, {"stage": "toy"}, {"ablation": None}, *quiet]
    train["paths"]["logs"] = str(folder.parent / "logs")
    train["sweep_report"] = False
    del train["ablation"]
    choices = (("trainer", "cpu", TRAINER), ("stage", "toy", {"name": "toy"}), ("ablation", "seeds", ABLATION))
    for group, name, content in choices:
        (folder / group).mkdir(parents=True)
        package = "# @package _global_\n" if group == "ablation" else ""
        (folder / group / f"{name}.yaml").write_text(package + yaml.safe_dump(content))
    (folder / "hydra" / "launcher").mkdir(parents=True)
    launcher = (PROJECT_ROOT / "conf" / "hydra" / "launcher" / "process.yaml").read_text()
    (folder / "hydra" / "launcher" / "process.yaml").write_text(launcher)
    (folder / "train.yaml").write_text(yaml.safe_dump(train))
    return folder


def check(cfg):
    if not isinstance(cfg.seed, int):
        raise ConfigError(f"must be a number, not {cfg.seed!r}", "seed")


def train(cfg):
    from hydra.core.hydra_config import HydraConfig

    folder = Path(HydraConfig.get().runtime.output_dir)
    if (folder / "DONE").exists():
        return
    if os.environ.get("LOCAL_RANK"):
        note(folder, "rank 1")
        time.sleep(60)
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    note(folder, "begins")
    if cfg.trainer.devices > 1:
        start_rank(folder)
    if cfg.seed in cfg.trainer.fail_seeds:
        raise DataError(f"seed {cfg.seed}: is bad by design")
    pause = 10 * cfg.trainer.pause if cfg.seed in cfg.trainer.slow_seeds else cfg.trainer.pause
    count(folder, cfg.trainer.max_steps, pause, asked)


def count(folder, max_steps, pause, asked):
    checkpoint = folder / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(exist_ok=True)
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for step in range(first + 1, max_steps + 1):
        time.sleep(pause)
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "train/loss": 1.0 / step}) + "\n")
        checkpoint.write_text(str(step))
        if asked:
            raise Interrupted(f"stopped after step {step}")
    (folder / "summary.json").write_text(json.dumps({"metrics": {"val/loss": 0.5}}))
    (folder / "provenance.json").write_text(json.dumps({"source": {"hash": source_hash()}, "resumed": []}))
    note(folder, "ends")
    (folder / "DONE").touch()


def note(folder, what):
    """What processes of a run do, one line each; the environment that the launcher gave is there too."""
    given = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
    with (folder / "notes.jsonl").open("a") as file:
        file.write(json.dumps({"what": what, "pid": os.getpid(), "at": time.time(), **given}) + "\n")


def start_rank(folder):
    more = [f"hydra.run.dir='{folder}'", "hydra.output_subdir=null"]
    subprocess.Popen([sys.executable, *sys.argv, *more], env={**os.environ, "LOCAL_RANK": "1"})
    deadline = time.monotonic() + 30
    while "rank 1" not in (folder / "notes.jsonl").read_text() and time.monotonic() < deadline:
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(run_command("train", "toy_project:train", "toy_project:check"))
