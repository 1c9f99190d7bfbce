"""Activations computed again in the backward pass instead of kept from the forward: memory for time.

* `v3`     what DeepSeek-V3 does (§3.2.3): RMSNorm's outputs, MLA's up-projections and SwiGLU's outputs are not
           kept. The model marks them (`seams.recomputable`); while a block runs, whatever autograd wants to
           save of a marked result is replaced by its recipe, and made again, once for all who saved it, when
           the backward pass asks. The attention itself and every large product run once.
* `block`  a block keeps its input alone and runs a second time (Chen et al. 2016, torch's checkpoint)

The same operations on the same numbers: gradients are those of `none` to the bit. Applied to a built model,
in place, names kept, before it is sharded; it is no part of the model's config, so a checkpoint resumes with
another choice.

Left out: choosing blocks by their cost, and moving activations to another memory.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from deepseek_lab.model.block import Block
from deepseek_lab.model.mtp import MultiTokenPrediction
from deepseek_lab.seams import LISTENER, cast, recomputable

How = Literal["none", "v3", "block"]


def recompute(model: nn.Module, how: How) -> None:
    """Makes the blocks of `model` recompute; call it once on a built model."""
    if how == "none":
        return
    mixin, units = (_RecomputesParts, (Block, MultiTokenPrediction)) if how == "v3" else (_RunsTwice, (Block,))
    for module in model.modules():
        if isinstance(module, units):
            # A class of its own, as fully_shard makes one: a copy of the model keeps it, and no name changes.
            module.__class__ = type(type(module).__name__, (mixin, type(module)), {})
            if how == "v3":
                _cast_before_products(module)


class _RunsTwice(nn.Module):
    """A block that keeps its inputs; nothing in it draws random numbers."""

    def forward(self, *inputs: Any) -> Any:
        if not torch.is_grad_enabled():
            return super().forward(*inputs)
        return checkpoint(super().forward, *inputs, use_reentrant=False, preserve_rng_state=False)


class _RecomputesParts(nn.Module):
    """A block that keeps recipes in the place of its recomputable results."""

    def forward(self, *inputs: Any) -> Any:
        if not torch.is_grad_enabled():
            return super().forward(*inputs)
        with _taking_notes():
            return super().forward(*inputs)


def _cast_before_products(unit: nn.Module) -> None:
    """Under autocast a linear keeps a narrow copy of its input, of which autocast tells nobody: cast it here."""

    def before(linear: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        x, notes = inputs[0], LISTENER.get()
        if not isinstance(notes, _Notes) or not torch.is_autocast_enabled(x.device.type) or not notes.knows(x):
            return None
        return (recomputable(cast, x, torch.get_autocast_dtype(x.device.type)), *inputs[1:])

    for module in unit.children():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(before)
        elif not isinstance(module, (Block, MultiTokenPrediction)):
            _cast_before_products(module)


class _Recipe:
    """How a result is made: a function of inputs that are kept, or themselves recipes."""

    def __init__(self, function: Callable[..., Tensor], inputs: list[Any], kind: str) -> None:
        self.function, self.inputs, self.kind = function, inputs, kind
        self.autocast = (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
        self.users = 0
        self._made: Tensor | None = None

    def made(self) -> Tensor:
        """The result, computed for the first user and let go with the last."""
        result = self._made
        if result is None:
            enabled, dtype = self.autocast
            # Without its cache of weights: what is cast here belongs to no graph.
            with torch.no_grad(), torch.autocast(self.kind, dtype=dtype, enabled=enabled, cache_enabled=False):
                result = self.function(*map(_unpack, self.inputs))
        self.users -= 1
        self._made = result if self.users > 0 else None
        return result


class _View:
    """A tensor in the memory of a recipe's result."""

    def __init__(self, recipe: _Recipe, tensor: Tensor) -> None:
        self.recipe = recipe
        self.place = (tensor.size(), tensor.stride(), tensor.storage_offset())

    def tensor(self) -> Tensor:
        return self.recipe.made().as_strided(*self.place)


def _unpack(kept: Any) -> Any:
    return kept.tensor() if isinstance(kept, _View) else kept


class _Notes:
    """The recomputable results of one run of a block, by their memory; they live until it has run."""

    def __init__(self) -> None:
        self._recipes: dict[int, tuple[_Recipe, Tensor]] = {}

    def note(self, output: Tensor, function: Callable[..., Tensor], inputs: tuple[Any, ...]) -> None:
        """Remembers a result; one that lies in the memory of an input needs no recipe."""
        tensors = [x for x in inputs if isinstance(x, Tensor)]
        if _memory(output) in {_memory(x) for x in tensors}:
            return
        kept = [self.pack(x.detach()) if isinstance(x, Tensor) else x for x in inputs]
        self._recipes[_memory(output)] = (_Recipe(function, kept, output.device.type), output)

    def forget(self) -> None:
        """Lets go of the results themselves; the recipes live on with those who keep them."""
        self._recipes.clear()

    def knows(self, tensor: Tensor) -> bool:
        """Whether a tensor lies in the memory of a result."""
        return _memory(tensor) in self._recipes

    def pack(self, tensor: Tensor) -> Any:
        """What autograd keeps in the place of a tensor: itself, or the way to make it."""
        recipe, output = self._recipes.get(_memory(tensor), (None, tensor))
        if recipe is None or tensor.dtype != output.dtype:
            return tensor
        recipe.users += 1
        return _View(recipe, tensor)


def _memory(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address


@contextlib.contextmanager
def _taking_notes() -> Iterator[None]:
    notes = _Notes()
    token = LISTENER.set(notes)
    try:
        with torch.autograd.graph.saved_tensors_hooks(notes.pack, _unpack):
            yield
    finally:
        LISTENER.reset(token)
        notes.forget()
