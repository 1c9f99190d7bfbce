"""Multi-token prediction: what depth k predicts and how much its loss weighs.

The module of depth k (1-based) turns position i (0-based) into a prediction of token i + k + 1
(DeepSeek-V3 §2.2, eq. 21-25). A row of T + 1 tokens therefore gives depth k only T - k positions.

    L_MTP = λ/D · Σ_k L_k

The paper divides every L_k by T; like every implementation we know, we divide it by the number of
positions that count, so that a depth's loss is a mean and compares with the main loss. The loss
itself is `next_token.chunked_cross_entropy`, since all depths share the head.

Shapes: B sequences, T positions, T1 = T + 1 tokens, S = T - depth positions.
"""

import torch
from torch import Tensor


def mtp_targets(
    tokens_BT1: Tensor, document_BT1: Tensor | None, depth: int, within_documents: bool
) -> tuple[Tensor, Tensor]:
    """The target of each position of depth `depth` and whether it counts.

    within_documents: leave out the positions whose target lies in another document.

    Returns targets_BS (ids) and valid_BS (bool), S = T - depth, possibly 0. Raises ValueError for a
    depth under 1 and when documents are to be respected but not given.
    """
    if depth < 1:
        raise ValueError(f"depth counts from 1, not {depth}")
    targets_BS = tokens_BT1[:, depth + 1 :]
    if not within_documents:
        return targets_BS, torch.ones_like(targets_BS, dtype=torch.bool)
    if document_BT1 is None:
        raise ValueError("staying within documents needs the document of each token")
    positions = targets_BS.shape[1]
    return targets_BS, document_BT1[:, :positions] == document_BT1[:, depth + 1 :]


def mtp_loss_weight(step: int, max_steps: int, weight: float, late_weight: float, late_from: float) -> float:
    """λ at a step counted from 0: `weight`, then `late_weight` from the fraction `late_from` of the run on.

    DeepSeek-V3 (§4.2): 0.3 for the first 10T of 14.8T tokens (late_from 0.676), 0.1 afterwards.
    """
    return weight if step < late_from * max_steps else late_weight


def depth_weight(loss_weight: float, n_depths: int) -> float:
    """The weight λ/D of one depth's mean loss; 0 where there is no depth."""
    return loss_weight / n_depths if n_depths else 0.0
