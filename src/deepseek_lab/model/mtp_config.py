"""The knobs of multi-token prediction, apart from the module: they are checked before torch is imported."""

from dataclasses import dataclass
from typing import Literal

from deepseek_lab.config import CheckedConfig


@dataclass(frozen=True, kw_only=True)
class MultiTokenPredictionConfig(CheckedConfig):
    """`depth` 0 means none."""

    depth: int = 0
    concat: Literal["embedding_first", "hidden_first"] = "embedding_first"
    hidden: Literal["final_norm", "pre_norm"] = "final_norm"

    def check(self) -> None:
        self.require_not_negative("depth")
