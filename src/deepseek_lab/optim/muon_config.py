"""The settings of Muon, apart from it: they are checked before torch is imported."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.optim.adamw_config import check_betas

if TYPE_CHECKING:
    from torch import nn

    from deepseek_lab.optim.muon import Muon


@dataclass(frozen=True, kw_only=True)
class MuonConfig(CheckedConfig):
    """lr, weight_decay: of all parameters (norms and biases do not decay). max_grad_norm: null never clips.

    momentum, nesterov, newton_schulz_steps: Muon's. betas, eps, fused: AdamW's. adamw_parts: names of modules
    whose parameters AdamW trains. stacked: names of modules, and of how many matrices their weight consists.
    """

    lr: float
    weight_decay: float
    max_grad_norm: float | None
    momentum: float
    nesterov: bool
    newton_schulz_steps: int
    adamw_parts: list[str]
    stacked: dict[str, int]
    betas: list[float]
    eps: float
    fused: bool

    def check(self) -> None:
        self.require_not_negative("lr", "eps", "weight_decay", "max_grad_norm")
        self.require_positive("newton_schulz_steps")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"must be a number from 0 to under 1, not {self.momentum}", "momentum")
        check_betas(self.betas)

    def build(self, model: "nn.Module") -> "Muon":
        """The optimiser of all trainable parameters of `model`."""
        from deepseek_lab.optim.muon import Muon

        return Muon(self, model)

    def state_bytes(self, model: "nn.Module") -> int:
        """Bytes that the optimiser keeps: a momentum of every matrix, two moments of all else."""
        from deepseek_lab.optim.muon import numbers_kept

        return 4 * numbers_kept(self, model)
