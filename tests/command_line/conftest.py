"""A small conf/ folder beside the real one: the real train.yaml's folders, choices of its own, jobs in this process."""

import sys
from pathlib import Path

import pytest
import yaml

from deepseek_lab.command_line import PROJECT_ROOT, register_resolvers, run_command
from deepseek_lab.config import ConfigError

FILES = {
    "model/nano": {"dim": 64, "n_heads": 4, "kv_lora_rank": 16, "head_dim": 16, "v_head_dim": "${.head_dim}"},
    "model/micro": {"dim": 128, "n_heads": 4, "kv_lora_rank": 32, "head_dim": 32, "v_head_dim": "${.head_dim}"},
    "attention/mha": {"n_heads": "${model.n_heads}"},
    "attention/mqa": {"n_heads": "${model.n_heads}", "n_kv_heads": 1},
    "attention/mla": {"kv_lora_rank": "${model.kv_lora_rank}", "v_head_dim": "${model.v_head_dim}"},
    "trainer/cpu": {"devices": 1, "max_steps": 10},
    "stage/pretrain": {"weight_decay": 0.1},
}
ABLATION = """# @package _global_
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      attention: mha,mqa,mla
      seed: 1,2
"""


@pytest.fixture
def conf_dir(tmp_path):
    """A conf/ folder with two models, three attentions and an ablation; logs go to tmp_path/logs."""
    folder = tmp_path / "conf"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    (folder / "ablation").mkdir()
    (folder / "ablation" / "attention.yaml").write_text(ABLATION)
    train = yaml.safe_load((PROJECT_ROOT / "conf" / "train.yaml").read_text())
    groups = [{"model": "nano"}, {"attention": "mha"}, {"trainer": "cpu"}, {"stage": "pretrain"}, {"ablation": None}]
    quiet = [entry for entry in train["defaults"] if any(str(key).endswith("_logging") for key in entry)]
    train["defaults"] = ["_self_", *groups, *quiet, {"override hydra/launcher": "basic"}]
    train["paths"]["logs"] = str(tmp_path / "logs")
    train["sweep_report"] = False
    (folder / "train.yaml").write_text(yaml.safe_dump(train))
    return folder


class App:
    """A script over the small conf/ folder: what its jobs saw, what its check refuses, how they end."""

    def __init__(self, conf_dir, monkeypatch, capfd):
        self.conf_dir = conf_dir
        self.logs = conf_dir.parent / "logs"
        self.seen = []
        self.folders = []
        self.checked = 0
        self.ends = lambda cfg: None
        self._monkeypatch = monkeypatch
        self._capfd = capfd

    def train(self, cfg):
        from hydra.core.hydra_config import HydraConfig

        self.folders.append(Path(HydraConfig.get().runtime.output_dir))
        self.seen.append(cfg)
        return self.ends(cfg)

    def check(self, cfg):
        self.checked += 1
        if cfg.model.dim % cfg.model.n_heads:
            raise ConfigError(f"must divide model.dim = {cfg.model.dim}", "model.n_heads")

    def __call__(self, *arguments):
        """The exit code and the lines on stderr."""
        self._monkeypatch.setattr(sys, "argv", ["scripts/train.py", *arguments])
        try:
            code = run_command("train", "app_of_the_tests:train", "app_of_the_tests:check", None, self.conf_dir)
        except SystemExit as stop:
            code = stop.code
        self.out, err = self._capfd.readouterr()
        return code, err.splitlines()


@pytest.fixture
def app(conf_dir, monkeypatch, capfd):
    """Runs `train` over the small conf/ folder in this process."""
    register_resolvers()
    one = App(conf_dir, monkeypatch, capfd)
    monkeypatch.setitem(sys.modules, "app_of_the_tests", one)
    return one
