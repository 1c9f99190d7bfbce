"""A new attention is one file beside the others and one YAML: written here, trained, read from its checkpoint."""

import subprocess
import sys

import torch

from deepseek_lab.command_line import PROJECT_ROOT

MODULE = '''
"""Multi-head attention whose output passes a sigmoid gate of its input."""

from dataclasses import dataclass

import torch

from deepseek_lab.config import CheckedConfig
from deepseek_lab.model.attention.interface import Attention, attend
from deepseek_lab.model.cache import write_tokens
from deepseek_lab.model.linear import Linear
from deepseek_lab.model.rope import rotate


class GatedAttention(Attention):
    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        n_heads: int

        def check(self):
            self.require_positive("n_heads")

        def rope_dim_at(self, dim):
            return dim // self.n_heads

        def build(self, dim, *, layer_index, rope):
            return GatedAttention(self, dim)

    def __init__(self, config, dim):
        super().__init__()
        self.config, self.width = config, dim // config.n_heads
        self.wqkv, self.gate, self.wo = Linear(dim, 3 * dim), Linear(dim, dim), Linear(dim, dim)

    def cache_shape(self):
        return (2, self.config.n_heads, self.width)

    def score_and_value_width(self):
        return self.config.n_heads * 2 * self.width

    def forward(self, x_BTD, context, cache_BL=None):
        q, k, v = self.wqkv(x_BTD).unflatten(-1, (3, -1, self.width)).unbind(2)
        q, k = (rotate(each, context.rotation_BTR, "half_split") for each in (q, k))
        if cache_BL is not None:
            new = torch.stack((k, v), dim=2)
            write_tokens(cache_BL, new, context.slots_BT, context.keep_BT, context.start)
            if context.read_cache:
                k, v = cache_BL[:, : context.n_keys].unbind(2)
        q, k, v = (each.transpose(1, 2) for each in (q, k, v))
        y = attend(q, k, v, context.mask_BTS, self.width**-0.5, context.segments).transpose(1, 2).flatten(2)
        return self.wo(y * torch.sigmoid(self.gate(x_BTD)))
'''

CONFIG = """
_target_: deepseek_lab.model.attention.gated.GatedAttention.Config
n_heads: ${model.n_heads}
"""

WITH_THE_FILE = """
import runpy, sys
import deepseek_lab.model.attention as attentions
attentions.__path__.append(sys.argv.pop(1))
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_one_file_and_one_yaml_are_all_that_a_new_attention_needs(tmp_path):
    beside = tmp_path / "attention"
    (tmp_path / "conf" / "attention").mkdir(parents=True)
    beside.mkdir()
    (beside / "gated.py").write_text(MODULE)
    (tmp_path / "conf" / "attention" / "gated.yaml").write_text(CONFIG)
    (tmp_path / "text").mkdir()
    for name in "abcdefgh":
        (tmp_path / "text" / f"{name}.py").write_text(f"def {name}(x):\n    return x + {ord(name)}\n" * 100)

    def script(name, *words):
        command = [sys.executable, "-c", WITH_THE_FILE, str(beside), str(PROJECT_ROOT / "scripts" / name), *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    words = (*("model=nano", "attention=gated", "ffn=moe", "mtp=depth1"), "tokenizer=bytes", "data.seq_len=64")
    words += ("data.corpus.folder=text", "trainer.max_steps=2", "hydra.run.dir=run", "paths.cache=cache")
    script("train.py", "--config-dir", str(tmp_path / "conf"), *words)
    stored = torch.load(next((tmp_path / "run" / "checkpoints").glob("*.ckpt")), weights_only=True)
    assert any("attention.gate.weight" in name for name in stored["state_dict"])
    assert script("generate.py", "checkpoint=run", "prompt=def", "max_new_tokens=4", "temperature=0").startswith("def")
