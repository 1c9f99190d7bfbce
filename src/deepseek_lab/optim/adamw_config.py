"""The settings of AdamW, apart from it: they are checked before torch is imported."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from deepseek_lab.config import CheckedConfig, ConfigError

if TYPE_CHECKING:
    from torch import nn

    from deepseek_lab.optim.adamw import AdamW


def check_betas(betas: list[float]) -> None:
    """Raises ConfigError for other than two numbers from 0 to under 1."""
    if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
        raise ConfigError(f"must be two numbers from 0 to under 1, not {betas}", "betas")


@dataclass(frozen=True, kw_only=True)
class AdamWConfig(CheckedConfig):
    """lr: the peak, which the schedule multiplies. max_grad_norm: null never clips."""

    lr: float
    betas: list[float]
    eps: float
    weight_decay: float
    max_grad_norm: float | None
    fused: bool
    moments: Literal["fp32", "bf16"] = "fp32"

    def check(self) -> None:
        self.require_not_negative("lr", "eps", "weight_decay", "max_grad_norm")
        check_betas(self.betas)

    def build(self, model: "nn.Module") -> "AdamW":
        """The optimiser of all trainable parameters of `model`."""
        from deepseek_lab.optim.adamw import made

        return made(self, model)

    def state_bytes(self, model: "nn.Module") -> int:
        """Bytes that the optimiser keeps: two moments of every parameter."""
        each = 2 if self.moments == "bf16" else 4
        return 2 * each * sum(p.numel() for p in model.parameters() if p.requires_grad)
