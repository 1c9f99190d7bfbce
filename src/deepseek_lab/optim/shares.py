"""A sharded tensor whole, and a rank's share of a whole one.

Left out: who sharded it (`trainer_plugins.sharded`).
"""

from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def whole_of(tensor: Tensor) -> Tensor:
    """A sharded tensor gathered on every rank; any other as it is. A call for all ranks at once."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def share_of(full: Tensor, like: Any) -> Tensor:
    """This rank's share of a tensor that every rank holds whole, cut as `like` is; nothing is sent."""
    if not isinstance(like, DTensor) or full.ndim == 0:
        return full
    return distribute_tensor(full.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
