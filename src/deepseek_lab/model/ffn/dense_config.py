"""The size of a dense feed-forward network, apart from the module: it is checked before torch is imported."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepseek_lab.config import CheckedConfig

if TYPE_CHECKING:
    from deepseek_lab.model.ffn.dense import DenseFeedForward


@dataclass(frozen=True, kw_only=True)
class DenseFeedForwardConfig(CheckedConfig):
    """One width in every layer."""

    intermediate_size: int
    bias: bool = False

    def check(self) -> None:
        self.require_positive("intermediate_size")

    def build(self, dim: int, *, layer_index: int) -> "DenseFeedForward":
        from deepseek_lab.model.ffn.dense import DenseFeedForward

        return DenseFeedForward(dim, self.intermediate_size, self.bias)
