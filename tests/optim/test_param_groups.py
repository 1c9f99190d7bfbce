"""Matrices decay, gains and biases do not, and nothing is forgotten or held twice."""

import torch
from torch import nn

from deepseek_lab.optim.param_groups import param_groups


class Tied(nn.Module):
    """One of each kind: embedding tied to a head, stacked experts, a norm, a bias, a frozen matrix."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.experts = nn.Parameter(torch.ones(2, 4, 4))
        self.norm = nn.RMSNorm(4)
        self.projection = nn.Linear(4, 4)
        self.frozen = nn.Linear(4, 4, bias=False).requires_grad_(False)


def test_groups():
    model = Tied()
    decayed, kept = param_groups(model, 0.1)
    assert {id(p) for p in decayed["params"]} == {
        id(p) for p in (model.embedding.weight, model.experts, model.projection.weight)
    }
    assert {id(p) for p in kept["params"]} == {id(model.norm.weight), id(model.projection.bias)}
    assert len(decayed["params"]) == 3
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)


def test_no_empty_group():
    assert len(param_groups(nn.Linear(4, 4, bias=False), 0.1)) == 1
