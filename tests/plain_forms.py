"""The plain form of every optimisation of a training step, put in the quick one's place by a monkeypatch."""

import torch
import torch.nn.functional as F

from deepseek_lab import seams
from deepseek_lab.model.attention import grouped, latent
from deepseek_lab.model.ffn import dense, experts
from deepseek_lab.model.norm import RMSNorm
from deepseek_lab.objectives.next_token import chunked_cross_entropy


class Step:
    """What is no part of the network: the head's loss, the optimiser's kernel."""

    fused = True

    @staticmethod
    def head_loss(hidden_ND, weight_VD, targets_N):
        share_N = torch.full(targets_N.shape, 1 / targets_N.numel())
        return chunked_cross_entropy(hidden_ND, weight_VD, targets_N, share_N)[0]


def whole_logits(hidden_ND, weight_VD, targets_N):
    return F.cross_entropy(F.linear(hidden_ND, weight_VD), targets_N)


def all_scores(q, k, v, mask, scale, segments):
    """Attention with the scores in memory, V at its own width."""
    assert mask is segments is None, "packed rows are trained without a mask"
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    future = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).triu(1)
    return (q @ k.mT * scale).masked_fill(future, float("-inf")).softmax(-1) @ v


def autograds_swiglu(gate_up):
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate) * up


class IndexAdd:
    @staticmethod
    def apply(y_MD, token_M, n_tokens):
        return y_MD.new_zeros(n_tokens, y_MD.shape[1]).index_add(0, token_M, y_MD)


def _attention(patch):
    for module in (grouped, latent):
        patch.setattr(module, "attend", all_scores)


def _swiglu(patch):
    for module in (dense, experts):
        patch.setattr(module, "swiglu", autograds_swiglu)


PLAIN = {
    "attention: all scores for blocks and padded V": _attention,
    "experts: a loop for grouped products": lambda patch: patch.setattr(seams, "_kernel_takes", lambda *_: False),
    "experts: autograd's sum over a token's rows": lambda patch: patch.setattr(experts, "_SumByToken", IndexAdd),
    "swiglu: autograd's": _swiglu,
    "norm: torch's": lambda patch: patch.setattr(
        RMSNorm, "_normalised", lambda self, x: F.rms_norm(x, self.weight.shape, self.weight, self.eps)
    ),
    "head loss: whole logits": lambda patch: patch.setattr(Step, "head_loss", staticmethod(whole_logits)),
    "AdamW: a loop over parameters": lambda patch: patch.setattr(Step, "fused", False),
}
"""Call with a monkeypatch before the network is built."""
