"""What a checkpoint holds beyond weights and optimiser, and the refusal to go on with another run.

Lightning saves neither random state nor the position in the data. Added here: steps, tokens, the open
window of means, every generator, the model's config; all of it plain values and tensors. Seed, data set
and model config of a checkpoint must be those of the run that goes on. Lightning's own loop counters are
kept: for checkpoints on finished steps its restart is exact (lightning 2.6, proven in the tests).

Left out: random state of ranks other than 0 (nothing in training draws from it).
"""

from typing import Any

import torch
from torch import Tensor, nn

from deepseek_lab.checkpoint import native, random_state
from deepseek_lab.checkpoint.fingerprint import fingerprint
from deepseek_lab.config import DataError
from deepseek_lab.stages.recording import Recording
from deepseek_lab.stages.window import Window


class Resumable(Recording):
    """A stage whose state between two steps is in its checkpoint, to the bit."""

    model: Any
    tokens_seen: Tensor

    def __init__(self, seed: int, data_hash: str) -> None:
        super().__init__()
        self.seed = seed
        self.data_hash = data_hash
        self.window = Window()
        self._random_state: dict[str, Any] | None = None
        self._companion_prints: dict[str, str] | None = None
        self.register_buffer("tokens_seen", torch.zeros((), dtype=torch.int64), persistent=False)

    def over_ranks(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all ranks; the loop knows them."""
        raise TypeError(f"{type(self).__name__} does not say how ranks add up")

    @property
    def companions(self) -> dict[str, nn.Module]:
        """Networks read from files that are neither trained nor stored here; the base class has none."""
        return {}

    def _identity(self, with_companions: bool = True) -> dict[str, Any]:
        """What a run that goes on must have in common with the one it goes on with."""
        named = {"stage": type(self).__name__, "seed": self.seed, "data": self.data_hash}
        return {**named, **(self._fingerprints() if with_companions else {})}

    def _fingerprints(self) -> dict[str, str]:
        """Of the companions, taken once: they do not change."""
        if self._companion_prints is None:
            self._companion_prints = {name: fingerprint(model) for name, model in self.companions.items()}
        return self._companion_prints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what Lightning leaves out."""
        checkpoint["model_config"] = native.describe(self.model.config)
        checkpoint["run"] = {
            **self._identity(),
            "steps_done": self.steps_done,
            "tokens_seen": int(self.tokens_seen),
            "window": self.window.state_dict(self.over_ranks),
            "latest": dict(self.latest),
            "random": random_state.capture(self.device),
            "n_threads": torch.get_num_threads(),  # in their order sums are added up
        }

    def require_same_run(self, checkpoint: dict[str, Any], companions_read: bool = True) -> None:
        """Raises DataError, in one line, when going on from `checkpoint` would be another run.

        companions_read: false where their weights are still to come from rank 0
        """
        for name, ours in self._identity(companions_read).items():
            theirs = checkpoint["run"].get(name)
            if theirs != ours:
                raise DataError(f"the checkpoint is of another run: its {name} is {theirs}, here it is {ours}")
        if native.rebuild(checkpoint["model_config"]) != self.model.config:
            raise DataError("the checkpoint is of another run: its model has another config")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes it back. Raises DataError when it is of another run."""
        self.require_same_run(checkpoint)
        run = checkpoint["run"]
        self.steps_done = run["steps_done"]
        self.tokens_seen.fill_(run["tokens_seen"])
        self.window.load_state_dict(run["window"], self.global_rank)
        self.latest = dict(run["latest"])
        self._random_state = run["random"]

    def on_train_start(self) -> None:
        """Random generators go back last: building loaders and loggers must not have moved them."""
        if self._random_state is not None:
            random_state.restore(self._random_state, self.device)
            self._random_state = None
