"""Supervised finetuning: next-token loss on the assistant's tokens alone.

    L = - Σ_i Σ_t m_{i,t} log π(y_{i,t} | x_i, y_{i,<t}) / N

m is 1 where the target is a token that the assistant wrote (its end of turn included). N counts the targets
of the *whole* optimiser step over all micro-batches and ranks: a mean of means would give a token of a short
micro-batch more weight than one of a long one.

Sequence-level distillation (Kim and Rush 2016 §3.2; DeepSeek-R1 §2.4) is this loss on the teacher's samples.

Shapes: B sequences, T positions, D width, V vocabulary.
"""

from torch import Tensor

from deepseek_lab.objectives.next_token import chunked_cross_entropy


def supervised_loss(
    hidden_BTD: Tensor, head_VD: Tensor, targets_BT: Tensor, mask_BT: Tensor, n_targets: Tensor | int
) -> tuple[Tensor, dict[str, Tensor]]:
    """This micro-batch's share of L, `n_targets` being N; the metric `nll_BT` (nats, detached) is not divided."""
    loss, nll_N = chunked_cross_entropy(
        hidden_BTD.flatten(0, 1),
        head_VD,
        targets_BT.flatten(),
        (mask_BT.to(hidden_BTD.dtype) / n_targets).flatten(),
    )
    return loss, {"nll_BT": nll_N.view_as(targets_BT)}
