"""Which parameters decay: the matrices do, norms and biases do not.

A gain of RMSNorm or a bias scales a whole channel; pulling it to zero changes the function instead of
bounding its complexity. Embeddings and stacked experts are matrices here, as in DeepSeek's recipes.

Left out: learning rates by layer or kind, which no DeepSeek recipe has.
"""

from typing import Any

from torch import nn


def param_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimiser: trainable parameters with ndim >= 2, then the others without decay.

    A tied parameter appears once. A group without members is left out.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
