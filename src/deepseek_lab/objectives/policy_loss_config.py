"""One published objective of on-policy training as a set of choices (`conf/loss/*.yaml`).

A preset says everything in which GRPO, R1-Zero, Dr. GRPO, DAPO and GSPO differ: how advantages are scaled, what
is clipped, how tokens are weighed, how far from the reference the policy may go, how long answers are treated,
whether groups without spread are drawn again. Apart from the loss (`policy_loss`), so that it is checked without torch.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.objectives.choices import (
    AdvantageScale,
    Aggregation,
    KLEstimator,
    RatioLevel,
    RewardFormat,
    Supervision,
)

if TYPE_CHECKING:
    from deepseek_lab.objectives.policy_loss import PolicyLoss


@dataclass(frozen=True, kw_only=True)
class PolicyLossConfig(CheckedConfig):
    """A preset; `supervision` and `max_refills` are read by who has steps and can draw again."""

    name: str
    ratio: RatioLevel
    clip_low: float
    clip_high: float
    dual_clip: float | None
    aggregation: Aggregation
    advantage_scale: AdvantageScale
    supervision: Supervision
    format: RewardFormat
    kl_weight: float  # β
    kl_estimator: KLEstimator
    importance_cap: float | None  # C of truncated importance sampling; None: no correction
    overlong_share: float | None  # last share of the length limit in which length costs reward; None: it never does
    mask_truncated: bool  # answers that met the limit do not count in the loss
    dynamic_sampling: bool  # groups without spread are drawn again
    spread_tolerance: float
    max_refills: int  # rounds of drawing again; then training goes on with fewer groups

    def check(self) -> None:
        self.require_not_negative("clip_low", "clip_high", "kl_weight", "spread_tolerance")
        self.require_positive("max_refills")
        if self.clip_low > 1 and self.clip_low != self.clip_high:
            raise ConfigError(f"= {self.clip_low} clips nothing below: a ratio is never under 0", "clip_low")
        if self.dual_clip is not None and self.dual_clip <= 1:
            raise ConfigError(f"must be above 1, not {self.dual_clip}", "dual_clip")
        if self.importance_cap is not None and self.importance_cap <= 0:
            raise ConfigError(f"must be above 0, not {self.importance_cap}", "importance_cap")
        if self.overlong_share is not None and not 0 < self.overlong_share <= 1:
            raise ConfigError(f"must be a share of the length limit, not {self.overlong_share}", "overlong_share")

    def build(self) -> "PolicyLoss":
        """The loss."""
        from deepseek_lab.objectives.policy_loss import PolicyLoss

        return PolicyLoss(**{field.name: getattr(self, field.name) for field in fields(self)})
