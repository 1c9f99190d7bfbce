"""How far training is from what was sampled, while the weights are still those that drew: a bug detector.

A key-value cache gone wrong, a filter in sampling, another precision show here first. Where a router decides another
way than it did in generation (a near-tie and a batch of another shape), that token and those behind it differ by more
than rounding; they are counted by themselves, and `sampling/logp_difference/*` is of the others.

Shapes: B answers, T positions, L mixture layers, K experts a token.
"""

import torch
from torch import Tensor

from deepseek_lab.generation.routing import chosen_experts, experts_differ
from deepseek_lab.model.output import ModelOutput
from deepseek_lab.stages.answers import ROUTING, SAMPLER, Answers
from deepseek_lab.stages.iteration_curves import IterationCurves


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
