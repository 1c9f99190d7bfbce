"""How many tokens each expert got in a step, and the rule that moves the routers' selection biases by it."""

from typing import Any

import torch
from torch import Tensor

from deepseek_lab.model.output import RoutingStatistics
from deepseek_lab.objectives.balance import updated_bias


class ExpertLoads:
    """Adds up the loads of a step's forward passes in `sums`, by layer."""

    def __init__(self) -> None:
        self.sums: dict[int, Tensor] = {}

    def add(self, routing: list[RoutingStatistics], valid_BT: Tensor | None) -> None:
        """Counts one forward pass; `valid_BT` None counts all its tokens."""
        for statistics in routing:
            load_E, before = load_of(statistics, valid_BT), self.sums.get(statistics.layer)
            self.sums[statistics.layer] = load_E if before is None else before + load_E

    def taken(self, over_ranks: Any) -> list[tuple[int, Tensor]]:
        """Layer and (E,) load of each router over all ranks; the sums are empty after it."""
        layers, loads = list(self.sums), list(self.sums.values())
        self.sums = {}
        return list(zip(layers, over_ranks(torch.stack(loads)), strict=True)) if loads else []


def move_biases(routers: list[Any], loads: list[tuple[int, Tensor]], speed: float) -> None:
    """Moves the selection biases by the load of the global batch (V3 §2.1.2)."""
    for router, (_, load_E) in zip(routers, loads, strict=False):
        bias_E: Any = router.selection_bias_E
        if speed and bias_E is not None:
            bias_E.copy_(updated_bias(bias_E, load_E, speed))


def load_of(statistics: RoutingStatistics, valid_BT: Tensor | None) -> Tensor:
    """(E,) fp32: how many of the counted tokens each expert got."""
    if valid_BT is None:
        return statistics.load_E
    length = statistics.chosen_BTK.shape[1]
    chosen_N = statistics.chosen_BTK[valid_BT[:, :length]].flatten()
    n_experts = statistics.affinity_BTE.shape[-1]
    return torch.bincount(chosen_N, minlength=n_experts).to(torch.float32)
