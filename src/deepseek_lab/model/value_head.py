"""A transformer that gives every token a number instead of the next token: reward models and critics.

    r(x, y) = w·h_T     at the answer's last token (InstructGPT §3.5);     V_t = w·h_t     at each token (PPO)

The head has no bias and starts at 0, so that a fresh reward prefers nothing and a fresh critic expects nothing.
The backbone keeps its output head, unused: a reward model starts from a language model's checkpoint unchanged.

Shapes: B batch, T tokens, D width, N answers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deepseek_lab.config import CheckedConfig
from deepseek_lab.model.output import RoutingStatistics
from deepseek_lab.model.transformer import Transformer


class ValueModel(nn.Module):
    """`ValueModel.Config(backbone=…).build()`, or `ValueModel.around` a trained transformer."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        """What the numbers are read from."""

        backbone: Transformer.Config

        def build(self) -> "ValueModel":
            """Fresh weights."""
            return ValueModel(self, self.backbone.build())

    def __init__(self, config: Config, backbone: Transformer) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        reference = backbone.embedding.weight
        self.value_D = nn.Parameter(torch.zeros(config.backbone.dim, dtype=reference.dtype, device=reference.device))

    @classmethod
    def around(cls, backbone: Transformer) -> "ValueModel":
        """A value model on `backbone` itself, which is not copied."""
        return cls(cls.Config(backbone=backbone.config), backbone)

    def routers(self) -> list[nn.Module]:
        """The routers of the backbone's mixture layers."""
        return self.backbone.routers()

    def forward(
        self, input_ids_BT: Tensor, document_BT: Tensor | None = None, valid_BT: Tensor | None = None
    ) -> tuple[Tensor, list[RoutingStatistics]]:
        """(B, T) ids -> (B, T) values and what the routers did; arguments as those of `Transformer.forward`."""
        output = self.backbone(input_ids_BT, document_BT=document_BT, valid_BT=valid_BT)
        return output.hidden_BTD @ self.value_D, output.routing


def last_values(value_BT: Tensor, document_BT: Tensor, n_documents: int) -> Tensor:
    """(N,) the value at the last token of each answer, which `document_BT` numbers from 0 over the whole batch.

    Tokens with a number of `n_documents` or more (padding) are passed over.
    """
    position_M = torch.arange(document_BT.numel(), device=document_BT.device)
    document_M = document_BT.flatten()
    last_N = position_M.new_zeros(n_documents + 1)
    last_N.scatter_reduce_(0, document_M.clamp_max(n_documents), position_M, "amax")
    return value_BT.flatten()[last_N[:n_documents]]
