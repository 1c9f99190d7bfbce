"""Weights that one of several ranks reads from the disk, and the others get from it.

A run on several ranks builds its networks before the ranks know each other. Rank 0 reads them whole; a rank that builds
inside `unread_weights` reads the tables of contents alone and leaves its numbers NaN, so that nothing could be computed
unnoticed with what never came. When the ranks are connected, and before a network is wrapped or sharded,
`send_from_first` makes all of them rank 0's, to the bit. DDP alone would send its own module too, but FSDP2 sends
nothing, and neither knows of a teacher or a judge beside it.

Left out: the checkpoint that a run goes on with, which each rank reads through Lightning; and ranks that are connected
before they load, where `load_pretrained` shares the reading out.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.distributed
from torch import Tensor, nn

_UNREAD: ContextVar[bool] = ContextVar("unread", default=False)


@contextmanager
def unread_weights() -> Iterator[None]:
    """Within, networks that are loaded have their shapes, and NaN in the place of their numbers."""
    before = _UNREAD.set(True)
    try:
        yield
    finally:
        _UNREAD.reset(before)


def are_unread() -> bool:
    """Whether another rank reads what is loaded now."""
    return _UNREAD.get()


@torch.no_grad()
def leave_unread(model: nn.Module) -> None:
    """NaN in all its numbers; integers keep theirs."""
    for tensor in _tensors([model]):
        if tensor.is_floating_point():
            tensor.fill_(torch.nan)


@torch.no_grad()
def send_from_first(models: Iterable[nn.Module], device: torch.device) -> None:
    """Parameters and buffers of rank 0 on every rank, one at a time; a call for all ranks at once.

    models: of the same shapes everywhere, not sharded yet
    device: what the process group sends from; a tensor elsewhere takes a way through it, alone
    """
    first = torch.distributed.get_rank() == 0
    for tensor in _tensors(models):
        if tensor.numel():
            sent = tensor.to(device).contiguous()
            torch.distributed.broadcast(sent.reshape(-1).view(torch.uint8), src=0)  # FP8 has no broadcast of its own
            if not first and sent is not tensor:
                tensor.copy_(sent)


def _tensors(models: Iterable[nn.Module]) -> Iterator[Tensor]:
    """Each once, however often it is shared."""
    seen: set[int] = set()
    for model in models:
        for tensor in (*model.parameters(), *model.buffers()):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield tensor.detach()
