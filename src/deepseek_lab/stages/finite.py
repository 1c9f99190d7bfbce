"""Finds the place where a computation first stops being a number.

A NaN loss says nothing about where it arose. This runs the failing computation once more and names, in
this order: a weight that is not finite, the first module whose output is not, the loss itself, or the
weight nearest to the output whose gradient is not. It runs only when training is about to stop.
"""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _is_bad(value: Any) -> bool:
    return any(tensor.is_floating_point() and not bool(tensor.isfinite().all()) for tensor in _tensors(value))


def first_non_finite(model: nn.Module, loss: Callable[[], Tensor]) -> str:
    """Runs `loss` (a forward of `model`) and its backward again; names the first NaN or infinity.

    Changes the gradients of `model`, and nothing else.
    """
    for name, weight in model.named_parameters():
        if _is_bad(weight):
            return f"weight {name}"
    model.zero_grad()
    value, module = _watched(model, loss)
    if module:
        return f"output of {module}"
    if _is_bad(value):
        return "loss"
    value.backward()
    for name, weight in reversed(list(model.named_parameters())):
        if weight.grad is not None and _is_bad(weight.grad):
            return f"gradient of {name}"
    return "norm of the gradient"


def _watched(model: nn.Module, loss: Callable[[], Tensor]) -> tuple[Tensor, str]:
    """The loss, and the name of the first module with a bad output (children answer before parents)."""
    found: list[str] = []

    def watch(name: str) -> Any:
        return lambda module, inputs, output: found.append(name) if not found and _is_bad(output) else None

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        value = loss()
    finally:
        for hook in hooks:
            hook.remove()
    return value, found[0] if found else ""
