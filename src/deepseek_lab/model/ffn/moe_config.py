"""Sizes of a mixture of experts, apart from the module: they are checked before torch is imported."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from deepseek_lab.config import CheckedConfig, ConfigError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class RouterConfig(CheckedConfig):
    """Sizes shared by both routers, under DeepSeek's names."""

    n_routed_experts: int
    n_activated_experts: int
    n_expert_groups: int = 1
    n_limited_groups: int = 1
    route_scale: float = 1.0
    norm_topk_prob: bool = True

    def check(self) -> None:
        self.require_positive("n_routed_experts", "n_activated_experts", "n_expert_groups", "n_limited_groups")
        if self.n_routed_experts % self.n_expert_groups:
            raise ConfigError(
                f"must divide n_routed_experts ({self.n_routed_experts}), which {self.n_expert_groups} does not",
                "n_expert_groups",
            )
        if self.n_limited_groups > self.n_expert_groups:
            raise ConfigError(
                f"must be at most n_expert_groups ({self.n_expert_groups}), not {self.n_limited_groups}",
                "n_limited_groups",
            )
        reachable = self.n_routed_experts // self.n_expert_groups * self.n_limited_groups
        activated = self.n_activated_experts
        if activated > reachable:
            raise ConfigError(
                f"must be at most the {reachable} routed experts that a token can reach, not {activated}",
                "n_activated_experts",
            )


@dataclass(frozen=True, kw_only=True)
class MixtureOfExpertsConfig(RouterConfig):
    """`router` is `sigmoid` (V3) or `softmax` (DeepSeekMoE, V2); the first layers are dense."""

    router: Literal["sigmoid", "softmax"] = "sigmoid"
    moe_intermediate_size: int
    n_shared_experts: int
    n_dense_layers: int
    intermediate_size: int

    def check(self) -> None:
        super().check()
        self.require_positive("moe_intermediate_size", "intermediate_size")
        self.require_not_negative("n_shared_experts", "n_dense_layers")

    def build(self, dim: int, *, layer_index: int) -> "nn.Module":
        from deepseek_lab.model.ffn.dense import DenseFeedForward
        from deepseek_lab.model.ffn.moe import MixtureOfExperts

        if layer_index < self.n_dense_layers:
            return DenseFeedForward(dim, self.intermediate_size)
        return MixtureOfExperts(self, dim)
