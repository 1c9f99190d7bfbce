"""Tiny runs on two ranks: one pair of processes, started as torchrun starts them, trains them one after the other.

`python tiny_ranks.py FOLDER SCENARIO…` runs the named scenarios, each in `FOLDER/<scenario>`. A scenario
that goes on with another's checkpoint names it behind an arrow: `fsdp<ddp:7` copies the rows and the
checkpoint of step 7 of `FOLDER/ddp` and resumes under FSDP2.
"""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from torch import nn

from deepseek_lab.checkpoint.first_rank import leave_unread
from deepseek_lab.checkpoint.located import checkpoint_name
from deepseek_lab.model.attention.latent import LatentAttention
from deepseek_lab.model.ffn.moe import MixtureOfExperts
from deepseek_lab.model.mtp import MultiTokenPrediction
from deepseek_lab.model.recompute import recompute
from deepseek_lab.model.rope import RopeConfig
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.optim.muon import Muon
from deepseek_lab.optim.param_groups import param_groups
from deepseek_lab.stages.errors import TrainingError
from deepseek_lab.trainer_plugins.replicated import ReplicatedStrategy
from deepseek_lab.trainer_plugins.sharded import ShardedStrategy
from precision_recipes import fp8
from tiny_policy import policy_stage
from tiny_run import V3_BALANCE, VOCABULARY, TinyAdamW, TinyData, tiny_stage, tiny_trainer

MAX_NORM = 0.1
"""Far under every gradient norm of these runs, so that clipping works in each step."""

MUON = Muon.Config(
    lr=3e-3,
    weight_decay=0.1,
    max_grad_norm=MAX_NORM,
    momentum=0.95,
    nesterov=True,
    newton_schulz_steps=5,
    adamw_parts=["embedding", "head", "router"],
    stacked={"gate_up": 2, "gate_up_EXD": 2},
    betas=[0.9, 0.95],
    eps=1e-8,
    fused=True,
)
STAGES: dict[str, dict[str, Any]] = {
    "": {},
    "tied": {"tie_embeddings": True},
    "late": {"mtp_late_weight": 0.0, "mtp_late_from": 0.3},
    "v3": {"recompute": "v3"},
    "block": {"recompute": "block"},
    "fp8": {"precision": fp8()},
    "muon": {"optimizer": MUON},
    "unread": {},
}
"""Variants of the network or of training; a scenario `fsdp-tied` names one."""


ON_POLICY: dict[str, dict[str, Any]] = {
    "grpo": {"loss": {"kl_weight": 0.05}, "router_bias": "per_iteration", "rollout": {"curriculum": "none"}},
    "grpo-sequence": {"loss": {"aggregation": "sequence_mean", "ratio": "sequence"}},
    "grpo-constant": {"loss": {"aggregation": "constant", "advantage_scale": "none"}},
    "grpo-groups": {"loss": {"aggregation": "group_token_mean", "overlong_share": 0.5}},
    "grpo-steps": {"loss": {"aggregation": "sequence_mean", "supervision": "process"}},
    "ppo": {"reference_weight": 0.2},
}
"""Scenarios of stages that draw what they learn from: every way in which the objectives divide."""

PATIENCE = 1800
"""Seconds after which ranks count as waiting for each other: far more than a busy machine needs."""

UNEVEN = "grpo-uneven"
"""Its second rank is left with one group, which no two updates can share."""


def on_policy(scenario: str) -> Any:
    """The stage of one of them."""
    knobs = ON_POLICY.get(scenario, {"minibatches": 2})
    return policy_stage(scenario.partition("-")[0], batch_size=4, epochs=2, balance=V3_BALANCE, **knobs)


class GroupedAdamW(TinyAdamW):
    """Two groups, as real runs have them: the optimiser's numbers are then not the model's order."""

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(param_groups(model, 0.1), lr=self.lr, betas=(0.9, 0.95), fused=True)


def ranks_config(tie_embeddings: bool = False) -> Transformer.Config:
    """A DeepSeek-V3 of a few thousand weights: MLA, sigmoid router with bias and groups, MTP; odd sizes to shard."""
    return Transformer.Config(
        dim=20,
        n_layers=2,
        vocab_size=VOCABULARY + 1,
        max_seq_len=64,
        init_std=0.05,
        tie_embeddings=tie_embeddings,
        rope=RopeConfig(),
        attention=LatentAttention.Config(
            n_heads=3, q_lora_rank=7, kv_lora_rank=6, qk_nope_head_dim=6, qk_rope_head_dim=4, v_head_dim=5
        ),
        ffn=MixtureOfExperts.Config(
            n_routed_experts=9,
            n_activated_experts=2,
            n_expert_groups=3,
            n_limited_groups=2,
            moe_intermediate_size=8,
            n_shared_experts=1,
            n_dense_layers=1,
            intermediate_size=16,
        ),
        mtp=MultiTokenPrediction.Config(depth=1),
    )


def ranks_stage(tie_embeddings: bool = False, how: Any = "none", optimizer: Any = None, **knobs: Any) -> Any:
    """The stage of every run here; eight rows a step, and three validation batches, which two ranks cannot halve."""
    stage = tiny_stage(
        data=TinyData(batch_size=8, micro_batch_size=2),
        optimizer=optimizer or GroupedAdamW(max_grad_norm=MAX_NORM),
        config=ranks_config(tie_embeddings),
        validation_batches=3,
        **knobs,
    )
    recompute(stage.model, how)
    return stage


def variant(scenario: str) -> Any:
    """The stage that a scenario names behind its dash."""
    settings = dict(STAGES[scenario.partition("<")[0].partition("-")[2]])
    return ranks_stage(how=settings.pop("recompute", "none"), **settings)


def fit(folder: Path, stage: Any, resume: Path | None = None, **settings: Any) -> None:
    """Twenty steps, every one logged, in `folder`."""
    step = int(resume.stem[5:]) if resume else None
    tiny_trainer(folder, log_every=3, resume_step=step, **settings).fit(stage, ckpt_path=resume)


def prepare(folder: Path, scenario: str) -> Path | None:
    """Copies the rows and the checkpoint that a scenario goes on from; returns the checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    source, _, step = scenario.partition("<")[2].partition(":")
    if not source:
        return None
    checkpoint = folder / "checkpoints" / checkpoint_name(int(step))
    checkpoint.parent.mkdir()
    shutil.copy(folder.parent / source / "metrics.jsonl", folder)
    shutil.copy(folder.parent / source / "checkpoints" / checkpoint.name, checkpoint)
    return checkpoint


class PoisonOneRank(Callback):
    """Makes one module's output infinite on rank 1 alone, from step 4 on."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        if pl_module.steps_done == 3 and trainer.global_rank == 1:
            norm = pl_module.model.blocks[1].attention_norm
            norm.register_forward_hook(lambda module, inputs, output: output * float("inf"))


def run(root: Path, scenario: str) -> None:
    """One scenario on this rank."""
    folder = root / scenario
    resume = prepare(folder, scenario) if os.environ["RANK"] == "0" else wait_for(root, scenario)
    strategy = ShardedStrategy(2) if scenario.startswith("fsdp") else ReplicatedStrategy("late" in scenario)
    settings: dict[str, Any] = {"strategy": strategy, "devices": 2, "cluster": TorchElasticEnvironment()}
    if scenario.endswith("-poisoned"):
        try:
            fit(folder, ranks_stage(), callbacks=[PoisonOneRank()], **settings)
        except TrainingError as error:
            (root / f"{scenario}.{os.environ['RANK']}").write_text(str(error))
        return
    if scenario in ON_POLICY or scenario == UNEVEN:
        stage = on_policy(scenario)
        if scenario == UNEVEN:
            n_kept = 2 - int(os.environ["RANK"])
            stage.rollout.kept_groups = lambda answer_B, size: torch.arange(len(answer_B) // size) < n_kept
        fit(folder, stage, max_steps=3, **settings)
        return
    stage = variant(scenario)
    if scenario.endswith("-unread") and os.environ["RANK"] == "1":
        leave_unread(stage.model)
    fit(folder, stage, resume=resume, **settings)


def wait_for(root: Path, scenario: str) -> Path | None:
    """Rank 1 starts a scenario only when rank 0 has the one before behind it; the checkpoint is read in the fit."""
    step = scenario.partition("<")[2].partition(":")[2]
    return root / scenario / "checkpoints" / checkpoint_name(int(step)) if step else None


def start(folder: Path, *scenarios: str) -> None:
    """Two ranks that run the scenarios; raises AssertionError with their words when one fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(folder), *scenarios]
    ranks = [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "TORCHELASTIC_RUN_ID": "tests", "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        words = [rank.communicate(timeout=PATIENCE)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(text[-3000:] for text in words)


def main() -> None:
    torch.set_num_threads(1)
    for scenario in sys.argv[2:]:
        run(Path(sys.argv[1]), scenario)


if __name__ == "__main__":
    main()
