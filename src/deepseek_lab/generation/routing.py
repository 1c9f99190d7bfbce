"""Which experts ran: noted while decoding, given back to a later forward (routing replay), and compared.

A near-tie in a router can fall the other way when the same token is read in a batch of another shape; its
log-probability then differs by more than rounding. What an engine noted says which tokens that has happened to, and
`Transformer.forward(…, chosen_BTLK=…)` takes it so that it cannot.

Shapes: B rows, T tokens, L mixture layers, K experts a token.
"""

import torch
from torch import Tensor

from deepseek_lab.model.output import ModelOutput


def chosen_experts(output: ModelOutput) -> Tensor:
    """(B, T, L, K) int16 experts of a forward without MTP modules."""
    return torch.stack([statistics.chosen_BTK for statistics in output.routing], dim=2).to(torch.int16)


def experts_differ(one_TLK: Tensor, other_TLK: Tensor) -> Tensor:
    """(…, T) bool: the tokens that some layer sent to another set of experts; the order within a set is no matter."""
    return (one_TLK.sort(-1).values != other_TLK.sort(-1).values).flatten(-2).any(-1)
