"""What an on-policy stage shows of an iteration: curves, the check of the sampler, a table of answers, one line.

Curves are collected over several updates and a rollout, in the form that a window adds up.

The sampler's check compares training with sampling while the weights are still those that sampled: a bug detector.
A key-value cache gone wrong, a filter in sampling, another precision show here first. Where a router decides
otherwise than in generation (a near-tie and a batch of another shape), that token and those after it differ by more
than rounding; they are counted apart, and `sampling/logp_difference/*` is of the others.

Shapes: B answers, T positions, L mixture layers, K experts a token.
"""

import sys
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from deepseek_lab.generation.routing import chosen_experts, experts_differ
from deepseek_lab.model.output import ModelOutput
from deepseek_lab.objectives.policy_gradient import clipped_surrogate, log_ratios
from deepseek_lab.objectives.policy_loss import PolicyLoss
from deepseek_lab.rollout.experience import Sums
from deepseek_lab.stages.on_policy.answers import ADVANTAGE, ROUTING, SAMPLER, WEIGHT, Answers

OverRanks = Callable[..., Tensor]
_READS_ZERO = 5e-5
"""A loss below it is printed as 0.0000."""


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
        pair = torch.stack([value_N.sum(), value_N.new_full((), value_N.numel())])
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


@torch.no_grad()
def compare_with_sampler(curves: IterationCurves, micro: Answers, logp_BT: Tensor, output: ModelOutput) -> None:
    """Takes in one pass under the weights that drew its answers."""
    compared_BT = micro.mask_BT
    if ROUTING in micro.columns:
        n_layers = micro.columns[ROUTING].shape[2]
        differ_BT = experts_differ(micro.columns[ROUTING], _of_blocks(output, n_layers)) & micro.inside_BT
        curves.add_sum("sampling/routing_disagreement", differ_BT[micro.inside_BT])
        compared_BT = compared_BT & (differ_BT.cumsum(1) == 0)
    apart_N = (logp_BT - micro.columns[SAMPLER])[compared_BT].abs()
    curves.add_sum("sampling/logp_difference/mean", apart_N)
    curves.add_largest("sampling/logp_difference/max", apart_N.max() if len(apart_N) else logp_BT.new_zeros(()))


def _of_blocks(output: ModelOutput, n_layers: int) -> Tensor:
    """(B, T, L, K) experts of the blocks; those of MTP modules come behind."""
    if len(output.routing) == n_layers:
        return chosen_experts(output)
    return torch.stack([statistics.chosen_BTK for statistics in output.routing[:n_layers]], dim=2).to(torch.int16)


class AnswerLedger:
    """(B,) numbers an answer; each pass writes those of its rows.

    advantage, ratio: means over the tokens; clipped: share of the tokens that the clip silences
    weight: the sum of |what each token adds to the loss|
    """

    def __init__(self, n_answers: int, loss: PolicyLoss, device: torch.device) -> None:
        self.loss = loss
        self._columns = torch.zeros(4, n_answers, dtype=torch.float64, device=device)

    @torch.no_grad()
    def note(self, micro: Answers, logp_BT: Tensor, old_BT: Tensor) -> None:
        """Takes in one pass."""
        mask_BT, advantage_BT, loss = micro.mask_BT, micro.columns[ADVANTAGE], self.loss
        log_ratio_BT = log_ratios(logp_BT, old_BT, mask_BT, loss.ratio)
        ratio_BT = log_ratio_BT.exp()
        low_BT = (ratio_BT < 1 - loss.clip_low) & (advantage_BT < 0)
        silenced_BT = low_BT | ((ratio_BT > 1 + loss.clip_high) & (advantage_BT > 0))
        gain_BT = clipped_surrogate(log_ratio_BT, advantage_BT, loss.clip_low, loss.clip_high, loss.dual_clip)
        length_B = mask_BT.sum(1).clamp_min(1)
        means = [(column_BT * mask_BT).sum(1) / length_B for column_BT in (advantage_BT, ratio_BT, silenced_BT)]
        weight_B = (gain_BT * micro.columns[WEIGHT] * mask_BT).abs().sum(1)
        self._columns[:, micro.index_B] = torch.stack([column_B.double() for column_B in (*means, weight_B)])

    def rows(self) -> list[dict[str, float]]:
        """One dict an answer: advantage, ratio, clipped, and its share of the whole loss."""
        advantage_B, ratio_B, clipped_B, weight_B = self._columns
        share_B = weight_B / weight_B.sum().clamp_min(1e-300)
        names = ("advantage", "ratio", "clipped", "loss_share")
        values = torch.stack([advantage_B, ratio_B, clipped_B, share_B], dim=1).tolist()
        return [dict(zip(names, row, strict=True)) for row in values]


class ZeroLoss:
    """One plain line when the loss reads 0, the first question of everyone who starts with RL.

    Said once a run, and once more when there is no gradient either.
    """

    def __init__(self) -> None:
        self._said: set[bool] = set()

    def look(self, latest: Mapping[str, float], speaks: bool) -> None:
        """Reads the last values of the curves; only a rank that `speaks` prints."""
        if abs(latest["train/loss"]) >= _READS_ZERO:
            return
        teaches = latest["train/grad_norm"] > 0
        if teaches not in self._said and speaks:
            print(_line(latest, teaches), file=sys.stderr, flush=True)
        self._said.add(teaches)


def _line(latest: Mapping[str, float], teaches: bool) -> str:
    if teaches:
        norm = latest["train/grad_norm"]
        why = "ratios start at 1 and the advantages of a group sum to 0; its gradient does not vanish"
        return (
            f"the loss reads 0 and that is no failure: {why} (norm {norm:.2g}). Watch reward and eval/*, not the loss"
        )
    share = latest["frac_reward_zero_std"]
    why = f"in {share:.0%} of the groups all answers are worth the same, so no answer is better than another"
    return (
        f"the loss and its gradient are 0: {why}. Easier questions, a better start or more answers a group would help"
    )
