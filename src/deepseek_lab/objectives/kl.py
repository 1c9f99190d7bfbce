"""Estimators of KL[π_θ ‖ π_ref] at sampled tokens (Schulman 2020, "Approximating KL divergence").

With d = log π_ref - log π_θ, of tokens drawn from π_θ:

    k1 = -d              unbiased, but noisy and negative half of the time; for a KL inside the reward
    k2 = d²/2            a biased value whose gradient is that of the reverse KL
    k3 = e^d - d - 1     unbiased, never negative (DeepSeekMath eq. 4); its gradient is not the reverse KL's
    k3_unbiased = ρ·k3   DeepSeek-V3.2 §3.1: ρ = π_θ/π_old, with gradient, corrects the gradient and tokens that π_old
                         drew; on policy its gradient is k2's

Left out: the exact sum over the vocabulary (distillation.py).
"""

from typing import get_args

from torch import Tensor

from deepseek_lab.objectives.choices import KLEstimator

KL_ESTIMATORS: tuple[KLEstimator, ...] = get_args(KLEstimator)


def kl_estimate(logp: Tensor, logp_reference: Tensor, kind: KLEstimator, log_ratio: Tensor | None = None) -> Tensor:
    """The estimate at each token, in the shape of `logp`.

    log_ratio: log π_θ - log π_old, with gradient; only k3_unbiased reads it. Raises ValueError when it lacks.
    """
    d = logp_reference - logp
    if kind == "k1":
        return -d
    if kind == "k2":
        return d.square() / 2
    k3: Tensor = d.expm1() - d
    if kind == "k3":
        return k3
    if log_ratio is None:
        raise ValueError("k3_unbiased needs the log ratio to the policy that drew the tokens")
    return log_ratio.exp() * k3
