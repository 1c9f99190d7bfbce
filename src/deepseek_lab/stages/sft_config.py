"""The knobs of supervised fine-tuning, apart from the stage: they are checked before Lightning is imported."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from deepseek_lab.config import CheckedConfig

if TYPE_CHECKING:
    from deepseek_lab.stages.pretrain import PretrainStage

RouterBias = Literal["updated", "frozen"]


@dataclass(frozen=True, kw_only=True)
class SftConfig(CheckedConfig):
    """`mtp_weight` 0 leaves the MTP modules as they are; `router_bias` frozen leaves the selection biases."""

    name: str = "sft"
    mtp_weight: float = 0.0
    router_bias: RouterBias = "updated"
    data_kind: ClassVar[str] = "instructions"
    needs_start: ClassVar[bool] = False

    def check(self) -> None:
        self.require_not_negative("mtp_weight")

    def build(self, model: Any, data: Any, balance: Any, **loop: Any) -> "PretrainStage":
        """`loop`: isolate_documents, and what `Stage` takes: optimizer, schedule, seed, validation_batches."""
        from deepseek_lab.stages.sft import SftStage

        return SftStage(self, model, data, balance, **loop)
