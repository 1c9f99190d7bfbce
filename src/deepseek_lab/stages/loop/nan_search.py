"""Finds the place where a computation first stops being a number.

A NaN loss says nothing about where it arose. This runs the failing computation once more and names, in
this order: a weight that is not finite, the first module whose output is not, the loss itself, or the
weight nearest to the output whose gradient is not. It runs only when training is about to stop.

Ranks that share one model run it together: each finding is a place in an order that all of them share, and
`first_anywhere` makes it the smallest of all ranks before any of them goes on or stops.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from deepseek_lab.stages.loop.clipping import local


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _is_bad(value: Any) -> bool:
    return any(t.is_floating_point() and not bool(local(t).isfinite().all()) for t in _tensors(value))


def _this_rank(place: int) -> int:
    return place


def first_non_finite(
    model: nn.Module, loss: Callable[[], Tensor], first_anywhere: Callable[[int], int] = _this_rank
) -> str:
    """Runs `loss` (a forward of `model`) and its backward again; names the first NaN or infinity.

    first_anywhere: the smallest of all ranks' numbers. Changes the gradients of `model`, and nothing else.
    """

    def first_bad(values: Sequence[tuple[str, Any]]) -> str | None:
        places = [place for place, (_, value) in enumerate(values) if _is_bad(value)]
        place = first_anywhere(places[0] if places else len(values))
        return values[place][0] if place < len(values) else None

    weights = list(model.named_parameters())
    if bad := first_bad(weights):
        return f"weight {bad}"
    model.zero_grad()
    value, called, place = _watched(model, loss)
    place = first_anywhere(place)
    if place < len(called):
        return f"output of {called[place]}"
    if first_bad([("loss", value)]):
        return "loss"
    value.backward()
    if bad := first_bad([(name, weight.grad) for name, weight in reversed(list(model.named_parameters()))]):
        return f"gradient of {bad}"
    return "norm of the gradient"


def _watched(model: nn.Module, loss: Callable[[], Tensor]) -> tuple[Tensor, list[str], int]:
    """The loss, the modules in the order they answered (children before parents), the place of the first bad one."""
    called: list[str] = []
    bad: list[int] = []

    def watch(name: str) -> Any:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            if not bad and _is_bad(output):
                bad.append(len(called))
            called.append(name)

        return note

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        value = loss()
    finally:
        for hook in hooks:
            hook.remove()
    return value, called, bad[0] if bad else len(called)
