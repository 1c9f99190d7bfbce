"""The knobs of the stages that learn from pairs, apart from them: they are checked before Lightning is imported."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.objectives.choices import PreferenceLoss

if TYPE_CHECKING:
    from deepseek_lab.stages.dpo import DpoStage
    from deepseek_lab.stages.reward import RewardStage


@dataclass(frozen=True, kw_only=True)
class DpoConfig(CheckedConfig):
    """`reference` live keeps a second, frozen model; precomputed keeps two numbers a pair instead."""

    name: str = "dpo"
    beta: float = 0.1
    loss: PreferenceLoss = "dpo"
    flip_rate: float = 0.0  # ε of cdpo and robust
    reference: Literal["live", "precomputed"] = "precomputed"
    data_kind: ClassVar[str] = "preferences"
    needs_start: ClassVar[bool] = True
    """Against a model of random weights nothing is preferred."""

    def check(self) -> None:
        if self.beta <= 0:
            raise ConfigError(f"must be above 0, not {self.beta}", "beta")
        highest = {"cdpo": 1.0, "robust": 0.5}.get(self.loss)
        if self.flip_rate and highest is None:
            raise ConfigError(
                f"= {self.flip_rate} is not read by loss={self.loss}; cdpo and robust read it", "flip_rate"
            )
        if self.flip_rate and not 0 < self.flip_rate < (highest or 1.0):
            raise ConfigError(f"must be at least 0 and below {highest}, not {self.flip_rate}", "flip_rate")

    def build(self, model: Any, data: Any, balance: Any, **loop: Any) -> "DpoStage":
        """`balance` is not read: selection biases stay. `loop`: what `Stage` takes."""
        from deepseek_lab.stages.dpo import DpoStage

        return DpoStage(self, model, data, **loop)


@dataclass(frozen=True, kw_only=True)
class RewardConfig(CheckedConfig):
    """`centring` is c, `margin` is m of the Bradley-Terry loss."""

    name: str = "reward"
    margin: float = 0.0
    centring: float = 0.01
    data_kind: ClassVar[str] = "preferences"
    needs_start: ClassVar[bool] = False

    def check(self) -> None:
        self.require_not_negative("margin", "centring")

    def build(self, model: Any, data: Any, balance: Any, **loop: Any) -> "RewardStage":
        """`balance` is not read: selection biases stay. `loop`: what `Stage` takes."""
        from deepseek_lab.stages.reward import RewardStage

        return RewardStage(self, model, data, **loop)
