"""How often an MTP module drafts the token that the main model would choose itself.

Speculative decoding keeps a drafted token when the main model, reading the text before it, picks the same
one (DeepSeek-V3 §5.4.3 reports 85 to 90% for depth 1). Here both are greedy and both read the true text:
position i of depth k and position i + k of the main model predict token i + k + 1.

Left out: sampling at a temperature, and the chain of a real decoder, where depth k only counts after
depth k - 1 was kept (generation).

Shapes: B sequences, T positions, S = T - k, N rows, C rows of a chunk, D width, V vocabulary.
"""

import torch
from torch import Tensor

_LOGITS = 2**23  # numbers of logits at a time


@torch.no_grad()
def greedy_tokens(hidden_ND: Tensor, head_VD: Tensor) -> Tensor:
    """(N, D) final states -> (N,) likeliest tokens; the logits are never held whole."""
    rows = max(1, _LOGITS // head_VD.shape[0])
    parts = [(hidden_CD @ head_VD.T.to(hidden_CD.dtype)).argmax(-1) for hidden_CD in hidden_ND.split(rows)]
    return torch.cat(parts) if parts else hidden_ND.new_zeros(0, dtype=torch.long)


def draft_agreement(greedy_BT: Tensor, draft_BS: Tensor, valid_BS: Tensor) -> Tensor:
    """(2,) fp64: drafts of one depth that agree with the main model's own choice, and drafts that count.

    greedy_BT: the main model's choices. draft_BS: those of depth k = T - S. valid_BS: the drafts that count.
    """
    same_BS = greedy_BT[:, greedy_BT.shape[1] - draft_BS.shape[1] :] == draft_BS
    return torch.stack([(same_BS & valid_BS).sum(), valid_BS.sum()]).double()
