"""The policy that a KL term holds on to: a frozen copy of where the stage started, renewed where asked for.

It stands in the checkpoint: a resumed run has the reference of the run it goes on with, not the policy it has become.
"""

import copy

from torch import nn

from deepseek_lab.model.transformer import Transformer


class Reference(nn.Module):
    """Holds the copy as `model`."""

    model: Transformer

    def __init__(self, policy: Transformer) -> None:
        super().__init__()
        self.model = copy.deepcopy(policy).requires_grad_(False)

    def refresh(self, policy: Transformer, iteration: int, every: int | None) -> None:
        """Before iteration `every`, 2·`every` … (from 0) the policy as it is becomes the reference (Alg. 1)."""
        if every and iteration and iteration % every == 0:
            self.model.load_state_dict(policy.state_dict())
