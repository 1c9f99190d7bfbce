"""Which token each position must predict, and which positions count.

Position i of a row of T + 1 packed tokens predicts token i + 1. DeepSeek-V3 packs documents without
hiding them from one another (§4.1), so by default the first token of a document is predicted from
the end of the one before it; with isolated documents that position counts for nothing.

Left out: the attention mask itself, which belongs to the model.

Shapes: B sequences, T positions, T1 = T + 1 tokens.
"""

import torch
from torch import Tensor


def next_token_targets(tokens_BT1: Tensor, document_BT1: Tensor | None, isolate: bool) -> tuple[Tensor, Tensor]:
    """The target of each position and whether it counts.

    tokens_BT1: token ids. document_BT1: the document each token belongs to, needed only to isolate.
    isolate: leave out the positions whose target opens another document.

    Returns targets_BT (ids) and valid_BT (bool). Raises ValueError when isolating without documents.
    """
    targets_BT = tokens_BT1[:, 1:]
    if not isolate:
        return targets_BT, torch.ones_like(targets_BT, dtype=torch.bool)
    if document_BT1 is None:
        raise ValueError("isolating documents needs the document of each token")
    return targets_BT, document_BT1[:, :-1] == document_BT1[:, 1:]


def answer_targets(tokens_BT1: Tensor, counted_BT1: Tensor, document_BT1: Tensor) -> tuple[Tensor, Tensor]:
    """The target of each position and whether it counts, of rows that pack whole samples apart from one another.

    counted_BT1: bool, True on the tokens that are to be learnt (the assistant's). A sample's first token, and
    padding (a sample of its own that counts nowhere), is no target.

    Returns targets_BT (ids) and valid_BT (bool).
    """
    same_BT = document_BT1[:, :-1] == document_BT1[:, 1:]
    return tokens_BT1[:, 1:], counted_BT1[:, 1:] & same_BT
