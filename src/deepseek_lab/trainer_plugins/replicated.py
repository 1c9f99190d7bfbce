"""DDP: every rank holds the whole model, gradients are averaged while the backward pass runs.

Lightning's strategy with two settings of its own: buffers (router biases, counters) are not sent around
before each forward, because every rank moves them by the same rule; and ranks are watched (launcher).
"""

from typing import Any

from lightning.pytorch.strategies import DDPStrategy

from deepseek_lab.trainer_plugins.launcher import launcher


class ReplicatedStrategy(DDPStrategy):
    """`Trainer(strategy=ReplicatedStrategy(…))`; `find_unused_parameters` where a module may rest for some steps."""

    def __init__(self, find_unused_parameters: bool) -> None:
        super().__init__(find_unused_parameters=find_unused_parameters, forward_sync_buffers=False)

    def _configure_launcher(self) -> None:
        environment: Any = self.cluster_environment
        self._launcher: Any = launcher(environment, self.num_processes, self.num_nodes)
