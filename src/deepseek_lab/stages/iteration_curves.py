"""The curves of one iteration, from several updates and a rollout, in the form that a window adds up."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from deepseek_lab.rollout.experience import Sums
from deepseek_lab.stages.answers import Answers

OverRanks = Callable[..., Tensor]


class IterationCurves:
    """Means over updates, largest values, seconds; `taken` reads and clears them."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._updates: list[Mapping[str, Tensor]] = []
        self._largest: dict[str, Tensor] = {}
        self._seconds: dict[str, float] = {}
        self._sums: dict[str, Tensor] = {}

    def add_update(self, parts: Mapping[str, Tensor]) -> None:
        """Values of one update: each a share of a sum over the ranks."""
        self._updates.append({name: value.detach() for name, value in parts.items()})

    def of_pass(
        self, micro: Answers, logp_BT: Tensor, old_BT: Tensor, entropy_BT: Tensor, n_tokens: Tensor
    ) -> dict[str, Tensor]:
        """What every objective shows of a pass, as shares of an update of `n_tokens`; remembers what is largest."""
        ratio_BT = ((logp_BT.detach() - old_BT) * micro.mask_BT).exp()
        self.add_largest("policy/ratio_max", ratio_BT.max())
        return {"entropy": entropy_BT.sum() / n_tokens}

    def add_sum(self, name: str, value_N: Tensor) -> None:
        """Numbers whose mean over the iteration and all ranks is a curve."""
        value_N = value_N.detach().double()
        pair = torch.stack([value_N.sum(), value_N.new_tensor(value_N.numel())])
        self._sums[name] = self._sums[name] + pair if name in self._sums else pair

    def add_largest(self, name: str, value: Tensor) -> None:
        """A value of which the largest of the iteration counts."""
        value = value.detach()
        self._largest[name] = torch.maximum(self._largest[name], value) if name in self._largest else value

    def add_seconds(self, name: str, seconds: float) -> None:
        """Wall time of this rank."""
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def taken(self, sums: Sums, over_ranks: OverRanks, device: torch.device, n_ranks: int) -> dict[str, Tensor]:
        """All curves as shares of a sum over the ranks; `sums` are those of the rollout."""
        names = sorted({name for update in self._updates for name in update})
        values = {name: _mean([update[name] for update in self._updates if name in update]) for name in names}
        for name, value in self._largest.items():
            values[name] = over_ranks(value, "MAX") / n_ranks
        for name, seconds in self._seconds.items():
            values[name] = torch.tensor(seconds, device=device) / n_ranks
        pairs = {name: torch.tensor(pair, dtype=torch.float64, device=device) for name, pair in sums.items()}
        means = _means({**pairs, **self._sums}, over_ranks, n_ranks)
        self._clear()
        return {**values, **means}


def shares(means: Mapping[str, Tensor], micro: Answers, n_tokens: Tensor) -> dict[str, Tensor]:
    """Means over the tokens of a pass as shares of the mean over the `n_tokens` of its update."""
    return {name: value * micro.mask_BT.sum() / n_tokens for name, value in means.items()}


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack([value.double() for value in values]).mean()


def _means(sums: Mapping[str, Tensor], over_ranks: OverRanks, n_ranks: int) -> dict[str, Tensor]:
    """Sums over counts, both over all ranks; NaN where nothing was counted."""
    names = sorted(sums)
    pairs = over_ranks(torch.stack([sums[name] for name in names]))
    return {name: total / count / n_ranks for name, (total, count) in zip(names, pairs, strict=True)}
