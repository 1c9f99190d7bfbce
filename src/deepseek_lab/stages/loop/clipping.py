"""The global norm of the gradients and their clipping, for whole gradients and for sharded ones.

torch's own clipping reduces the norm of a sharded gradient over the ranks tensor by tensor; here the squares
of this rank's shards are summed first and one number is reduced. Whole gradients (one process, DDP) are the
same on every rank and nothing is reduced.

Left out: norms other than the Euclidean.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def local(tensor: Tensor) -> Tensor:
    """This rank's shard of a sharded tensor (the same memory); any other tensor as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def clip_gradients(model: nn.Module, max_norm: float | None, over_ranks: Callable[[Tensor], Tensor]) -> Tensor:
    """Scales all gradients so that their global norm is at most `max_norm`; returns the norm before.

    max_norm: None or 0 clips nothing. over_ranks: the sum of a tensor over all ranks.
    """
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    shards = [local(gradient) for gradient in gradients]
    norm = nn.utils.get_total_norm(shards)
    if any(isinstance(gradient, DTensor) for gradient in gradients):
        norm = over_ranks(norm.double().square()).sqrt().to(norm.dtype)
    if max_norm and shards:
        torch._foreach_mul_(shards, (max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm
