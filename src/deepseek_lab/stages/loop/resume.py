"""What a checkpoint holds beyond weights and optimiser, and the refusal to resume another run.

Lightning saves neither random state nor the position in the data. Added here: steps, tokens, the open
window of means, every generator, the model's config; all of it plain values and tensors. Seed, dataset
and model config of a checkpoint must be those of the run that resumes. Lightning's own loop counters are
kept: for checkpoints on finished steps its restart is exact (lightning 2.6, proven in the tests).

Left out: random state of ranks other than 0 (nothing in training draws from it).
"""

from typing import Any

import torch

from deepseek_lab.checkpoint import native, random_state
from deepseek_lab.checkpoint.fingerprint import fingerprint
from deepseek_lab.config import DataError


class ResumableState:
    """The state between two steps of the stage that holds it, saved and restored to the bit."""

    def __init__(self, stage: Any, seed: int, data_hash: str) -> None:
        self._stage = stage
        self.seed = seed
        self.data_hash = data_hash
        self._random_state: dict[str, Any] | None = None
        self._companion_prints: dict[str, str] | None = None

    def identity(self, with_companions: bool = True) -> dict[str, Any]:
        """What a run that resumes must have in common with the one that wrote the checkpoint."""
        named = {"stage": type(self._stage).__name__, "seed": self.seed, "data": self.data_hash}
        return {**named, **(self._fingerprints() if with_companions else {})}

    def _fingerprints(self) -> dict[str, str]:
        """Of the frozen companions, taken once: they do not change."""
        if self._companion_prints is None:
            companions = self._stage.companions
            self._companion_prints = {name: fingerprint(model) for name, model in companions.items()}
        return self._companion_prints

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Adds what Lightning leaves out."""
        stage = self._stage
        checkpoint["model_config"] = native.describe(stage.model.config)
        checkpoint["run"] = {
            **self.identity(),
            "steps_done": stage.steps_done,
            "tokens_seen": int(stage.tokens_seen),
            "window": stage.window.state_dict(stage.over_ranks),
            "latest": dict(stage.records.latest),
            "random": random_state.capture(stage.device),
            "n_threads": torch.get_num_threads(),  # sums are added up in an order that depends on it
        }

    def require_same_run(self, checkpoint: dict[str, Any], companions_read: bool = True) -> None:
        """Raises DataError, in one line, when resuming from `checkpoint` would be another run.

        companions_read: false where their weights are still to come from rank 0
        """
        for name, ours in self.identity(companions_read).items():
            theirs = checkpoint["run"].get(name)
            if theirs != ours:
                raise DataError(f"the checkpoint is of another run: its {name} is {theirs}, here it is {ours}")
        if native.rebuild(checkpoint["model_config"]) != self._stage.model.config:
            raise DataError("the checkpoint is of another run: its model has another config")

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Takes it back. Raises DataError when it is of another run."""
        self.require_same_run(checkpoint)
        stage, run = self._stage, checkpoint["run"]
        stage.steps_done = run["steps_done"]
        stage.tokens_seen.fill_(run["tokens_seen"])
        stage.window.load_state_dict(run["window"], stage.global_rank)
        stage.records.latest = dict(run["latest"])
        self._random_state = run["random"]

    def restore_random_state(self) -> None:
        """Random generators go back last: building loaders and loggers must not have moved them."""
        if self._random_state is not None:
            random_state.restore(self._random_state, self._stage.device)
            self._random_state = None
