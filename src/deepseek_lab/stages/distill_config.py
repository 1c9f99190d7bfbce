"""The knobs of distillation, apart from the stage: they are checked before Lightning is imported."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepseek_lab.config import ConfigError
from deepseek_lab.objectives.choices import Divergence
from deepseek_lab.stages.sft_config import SftConfig

if TYPE_CHECKING:
    from deepseek_lab.stages.distill import DistillStage


@dataclass(frozen=True, kw_only=True)
class DistillConfig(SftConfig):
    """Those of supervised fine-tuning, and what is learnt from `teacher`: whatever `init_from` takes."""

    name: str = "distill"
    teacher: str
    divergence: Divergence = "forward"
    temperature: float = 1.0
    soft_weight: float = 1.0

    def check(self) -> None:
        super().check()
        if self.temperature <= 0:
            raise ConfigError(f"must be above 0, not {self.temperature}", "temperature")
        if not 0 <= self.soft_weight <= 1:
            raise ConfigError(f"must lie between 0 and 1, not {self.soft_weight}", "soft_weight")

    def build(self, model: Any, data: Any, balance: Any, **loop: Any) -> "DistillStage":
        """Reads the teacher. Raises DataError for a bad file, ConfigError when its vocabulary is another."""
        from deepseek_lab.checkpoint.opening import load_any
        from deepseek_lab.stages.distill import DistillStage

        teacher = load_any(self.teacher)
        ours, theirs = model.config.vocab_size, teacher.config.vocab_size
        if ours != theirs:
            raise ConfigError(f"= {ours} is not the teacher's {theirs}", "model.vocab_size")
        return DistillStage(self, model, data, balance, teacher=teacher, **loop)
