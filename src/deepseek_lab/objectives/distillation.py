"""A student learns a teacher's distribution (logits) or imitates its answers (sequences).

    logits     L = τ² Σ_t m_t D(p_t ‖ q_t) / N,  p, q the softmax of teacher and student over τ   (Hinton et al. 2015)
               forward: KL[p ‖ q] covers all that the teacher does; reverse: KL[q ‖ p] keeps to what it does often;
               jensen_shannon: w·KL[p ‖ m] + (1-w)·KL[q ‖ m], m = w·p + (1-w)·q, w = 1/2          (Agarwal et al. 2024)
    sequences  `supervised.supervised_loss` on the teacher's answers (Kim and Rush 2016; DeepSeek-R1 §2.4)

Both networks share a vocabulary. Left out: a chunked form; logits of both stand in memory.

Shapes: B sequences, T positions, V vocabulary.
"""

from typing import get_args

from torch import Tensor

from deepseek_lab.objectives.choices import Divergence
from deepseek_lab.objectives.supervised import supervised_loss as sequence_distillation_loss

DIVERGENCES: tuple[Divergence, ...] = get_args(Divergence)

__all__ = ["DIVERGENCES", "divergence_at_tokens", "logit_distillation_loss", "sequence_distillation_loss"]


def divergence_at_tokens(
    student_BTV: Tensor, teacher_BTV: Tensor, kind: Divergence = "forward", temperature: float = 1.0
) -> Tensor:
    """(B, T) τ²·D at each position, never negative; no gradient goes to the teacher."""
    log_q = (student_BTV / temperature).log_softmax(-1)
    log_p = (teacher_BTV.detach() / temperature).log_softmax(-1)
    if kind == "forward":
        value_BT = _kl(log_p, log_q)
    elif kind == "reverse":
        value_BT = _kl(log_q, log_p)
    else:
        log_m = ((log_p.exp() + log_q.exp()) / 2).log()
        value_BT = (_kl(log_p, log_m) + _kl(log_q, log_m)) / 2
    return temperature**2 * value_BT


def logit_distillation_loss(
    student_BTV: Tensor,
    teacher_BTV: Tensor,
    mask_BT: Tensor,
    n_targets: Tensor | int,
    kind: Divergence = "forward",
    temperature: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """This micro-batch's share of L, `n_targets` being N, the positions of the whole step; metric `divergence_BT`."""
    value_BT = divergence_at_tokens(student_BTV, teacher_BTV, kind, temperature)
    return (value_BT * mask_BT).sum() / n_targets, {"divergence_BT": value_BT.detach()}


def _kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    """KL[a ‖ b] over the last axis; a probability that is 0 in fp adds nothing, not NaN."""
    difference = (log_a - log_b).masked_fill(log_a.exp() == 0, 0.0)
    return (log_a.exp() * difference).sum(-1)
