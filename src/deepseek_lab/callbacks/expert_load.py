"""How evenly the routers spread their tokens, per layer and in one number.

Every value is of the step just finished, over all micro-batches and ranks: the batch-wise MaxVio of the
auxiliary-loss-free paper (Wang et al. 2024) is `moe/load_max_over_mean` − 1. A dense model records nothing.
"""

import math
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor


def load_share(load_E: Tensor) -> Tensor:
    """(E,) counts -> (E,) shares in fp64."""
    return load_E.double() / load_E.sum().clamp_min(1)


def max_over_mean(share_E: Tensor) -> Tensor:
    """Load of the busiest expert over the mean: 1 is even, E is one expert for all."""
    return share_E.max() * share_E.numel()


def entropy(share_E: Tensor) -> Tensor:
    """Entropy of the load over ln E: 1 is even, 0 is one expert for all."""
    nats: Tensor = torch.special.entr(share_E).sum()
    return nats / math.log(max(share_E.numel(), 2))


class ExpertLoad(Callback):
    """Records `moe/*` at logged steps of a stage that has `expert_load`."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """One histogram a layer, and means over the layers."""
        if not pl_module.log_due or not pl_module.expert_load:
            return
        shares = [(layer, load_share(load_E).cpu()) for layer, load_E in pl_module.expert_load]
        for layer, share_E in shares:
            pl_module.record_histogram(f"moe/layer_{layer}/load", share_E.tolist())
        pl_module.record(
            {
                "moe/load_max_over_mean": _mean([max_over_mean(share_E) for _, share_E in shares]),
                "moe/load_entropy": _mean([entropy(share_E) for _, share_E in shares]),
                **self._bias_norm(pl_module.model.routers()),
            }
        )

    def _bias_norm(self, routers: list[Any]) -> dict[str, float]:
        norms = [router.selection_bias_E.norm() for router in routers if router.selection_bias_E is not None]
        return {"moe/bias_norm": _mean(norms)} if norms else {}


def _mean(values: list[Tensor]) -> float:
    return float(torch.stack(values).mean())
