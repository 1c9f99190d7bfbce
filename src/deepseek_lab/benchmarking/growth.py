"""The networks that grow along one size each: what `memory` and `scaling` measure.

Every step has 4,096 tokens, whatever the length of its sequences, so that a longer sequence changes the attention
alone. More experts leave the active parameters as they are: a token always goes to four.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deepseek_lab.benchmarking.recompute import network
from deepseek_lab.model.transformer import Transformer

TOKENS = 4096
"""Of a step."""


@dataclass(frozen=True)
class Sizes:
    """A small DeepSeek-V3 in the proportions of mini_v3."""

    width: int = 256
    layers: int = 4
    sequence: int = 512
    vocabulary: int = 8192
    experts: int = 16

    def model(self) -> Transformer:
        """The network, weights from seed 0."""
        return network(self.width, self.layers, self.vocabulary, self.experts)

    def tokens_BT1(self) -> Tensor:
        """A step's tokens, one more than positions in each row."""
        rows = max(1, TOKENS // self.sequence)
        generator = torch.Generator().manual_seed(0)
        return torch.randint(self.vocabulary, (rows, self.sequence + 1), generator=generator)


AXES: dict[str, tuple[int, ...]] = {
    "experts": (8, 16, 32, 64, 128),
    "sequence": (256, 512, 1024, 2048, 4096),
    "layers": (4, 8),
    "width": (256, 512),
    "vocabulary": (8192, 32768, 129280),
}

LABELS = {
    "experts": "routed experts",
    "sequence": "tokens of a sequence",
    "layers": "layers",
    "width": "width (channels)",
    "vocabulary": "vocabulary (tokens)",
}


def points(axis: str, base: Sizes | None = None) -> dict[int, Sizes]:
    """The networks along one size, by its value."""
    return {value: replace(base or Sizes(), **{axis: value}) for value in AXES[axis]}
