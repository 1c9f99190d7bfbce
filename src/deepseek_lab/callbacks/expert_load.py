"""How evenly the routers spread their tokens, per layer and in one number.

Every value is of the step just finished, over all micro-batches and ranks: the batch-wise MaxVio of the
auxiliary-loss-free paper (Wang et al. 2024) is `moe/load_max_over_mean` − 1. A dense model records nothing.
"""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from deepseek_lab.objectives.balance import load_entropy, load_max_over_mean


class ExpertLoad(Callback):
    """Records `moe/*` at logged steps of a stage that has `expert_load`."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """One histogram a layer, and means over the layers."""
        if not pl_module.log_due or not pl_module.expert_load:
            return
        loads = [(layer, load_E.cpu()) for layer, load_E in pl_module.expert_load]
        for layer, load_E in loads:
            share_E = load_E.double() / load_E.sum().clamp_min(1)
            pl_module.records.histogram(f"moe/layer_{layer}/load", share_E.tolist())
        pl_module.records.scalars(
            {
                "moe/load_max_over_mean": _mean([load_max_over_mean(load_E) for _, load_E in loads]),
                "moe/load_entropy": _mean([load_entropy(load_E) for _, load_E in loads]),
                **self._bias_norm(pl_module.model.routers()),
            }
        )

    def _bias_norm(self, routers: list[Any]) -> dict[str, float]:
        norms = [router.selection_bias_E.norm() for router in routers if router.selection_bias_E is not None]
        return {"moe/bias_norm": _mean(norms)} if norms else {}


def _mean(values: list[Tensor]) -> float:
    return float(torch.stack(values).mean())
