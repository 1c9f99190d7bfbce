"""The knobs of pretraining, apart from the stage: they are checked before Lightning is imported.

Importing Lightning takes longer than everything else together, and a config error shall answer in seconds.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from deepseek_lab.config import CheckedConfig, ConfigError

if TYPE_CHECKING:
    from deepseek_lab.stages.pretrain import PretrainStage


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(CheckedConfig):
    """λ is `mtp_weight`, and `mtp_late_weight` from the fraction `mtp_late_from` of the run on (V3 §4.2)."""

    name: str = "pretrain"
    mtp_weight: float = 0.3
    mtp_late_weight: float = 0.1
    mtp_late_from: float = 0.676
    mtp_within_documents: bool = True
    data_kind: ClassVar[str] = "text"
    needs_start: ClassVar[bool] = False

    def check(self) -> None:
        self.require_not_negative("mtp_weight", "mtp_late_weight", "mtp_late_from")
        if self.mtp_late_from > 1:
            raise ConfigError(f"must be a fraction of the run, not {self.mtp_late_from}", "mtp_late_from")

    def build(self, model: Any, data: Any, balance: Any, **loop: Any) -> "PretrainStage":
        """`loop`: isolate_documents, and what `Stage` takes: optimizer, schedule, seed, validation_batches."""
        from deepseek_lab.stages.pretrain import PretrainStage

        return PretrainStage(self, model, data, balance, **loop)
