"""The knobs of the on-policy stages, apart from them: they are checked before Lightning is imported."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.objectives.policy_loss_config import PolicyLossConfig
from deepseek_lab.rollout.config import RolloutConfig

if TYPE_CHECKING:
    from deepseek_lab.rollout.engine import RolloutEngine
    from deepseek_lab.stages.on_policy.grpo import GrpoStage
    from deepseek_lab.stages.on_policy.ppo import PpoStage


@dataclass(frozen=True, kw_only=True)
class OnPolicyConfig(CheckedConfig):
    """What PPO and GRPO share.

    epochs: μ, how often the answers of an iteration are gone over
    minibatches: updates an epoch; each sees its share of the groups
    micro_tokens: tokens a forward pass, filling included; changes no number beyond rounding
    reference_every: iterations after which the policy becomes the reference (DeepSeekMath Alg. 1); null keeps the start
    router_bias: per_iteration moves the selection biases after all updates of an iteration, by the rule of balance=…
    routing_replay: training uses the experts that read a token while it was drawn, whatever its routers would choose
    mtp_weight: λ of the MTP modules on the answers; 0 leaves them as they are
    validation_samples: attempts at each held-out question
    show_every: iterations from one table of a group's answers to the next
    """

    name: str
    loss: PolicyLossConfig
    rollout: RolloutConfig
    epochs: int
    minibatches: int
    micro_tokens: int
    reference_every: int | None
    router_bias: Literal["frozen", "per_iteration"]
    routing_replay: bool
    mtp_weight: float
    validation_samples: int
    show_every: int
    data_kind: ClassVar[str] = "questions"
    needs_start: ClassVar[bool] = True
    """A network of random weights draws nothing that could be right."""

    def check(self) -> None:
        positive = ("epochs", "minibatches", "micro_tokens", "reference_every", "validation_samples", "show_every")
        self.require_positive(*positive)
        self.require_not_negative("mtp_weight")

    def _engine(self, data: Any, seed: int) -> "RolloutEngine":
        """What draws the experience. Raises ConfigError for what cannot be drawn or judged."""
        from deepseek_lab.rollout.engine import RolloutEngine

        kept = self.loss.build().kept_groups if self.loss.dynamic_sampling else None
        try:
            return RolloutEngine(self.rollout, data, seed, kept, self.loss.max_refills)
        except ConfigError as error:
            raise error if error.field.startswith("data.") else error.at("rollout") from None


@dataclass(frozen=True, kw_only=True)
class PpoConfig(OnPolicyConfig):
    """Proximal policy optimisation with a critic.

    reference_weight: β of the KL in the reward; the objective's own `loss.kl_weight` adds one to the loss
    discount, decay: γ and λ of the advantages; whiten: they get mean 0 and deviation 1 over the iteration
    value_weight, value_clip: of the critic's loss; null clips nothing
    critic: whose weights it starts from
    critic_lr_factor: on the learning rate
    """

    name: str = "ppo"
    reference_weight: float
    discount: float
    decay: float
    whiten: bool
    value_weight: float
    value_clip: float | None
    critic: Literal["policy", "reward_model"]
    critic_lr_factor: float

    def check(self) -> None:
        super().check()
        self.require_not_negative("reference_weight", "value_weight", "value_clip", "critic_lr_factor")
        for name in ("discount", "decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"must lie between 0 and 1, not {getattr(self, name)}", name)
        if self.critic == "reward_model" and self.rollout.reward_model is None:
            raise ConfigError("= reward_model needs rollout.reward_model=<run>", "critic")
        if self.loss.supervision != "outcome":
            raise ConfigError("= process is GRPO's: PPO's critic tells the steps apart", "loss.supervision")

    def build(self, model: Any, data: Any, balance: Any, isolate_documents: bool = True, **loop: Any) -> "PpoStage":
        """`isolate_documents`: always so here. `loop`: what `Stage` takes."""
        from deepseek_lab.stages.on_policy.ppo import PpoStage

        return PpoStage(self, model, self._engine(data, loop["seed"]), balance, **loop)


@dataclass(frozen=True, kw_only=True)
class GrpoConfig(OnPolicyConfig):
    """GRPO and its relatives: which of them, `loss` says.

    share_prompt: whether a training pass reads a prompt once for all answers to it, to the same losses and gradients;
        auto does where that was measured to be quicker
    """

    name: str = "grpo"
    share_prompt: Literal["auto", "always", "never"]

    def check(self) -> None:
        super().check()
        if self.share_prompt == "always" and self.mtp_weight:
            raise ConfigError(
                "= always and mtp_weight > 0 exclude each other: the MTP modules read the last tokens of a prompt "
                "beside the first of each answer",
                "share_prompt",
            )
        if self.rollout.group_size < 2:
            raise ConfigError("must be at least 2: an advantage is relative to the group", "rollout.group_size")

    def build(self, model: Any, data: Any, balance: Any, isolate_documents: bool = True, **loop: Any) -> "GrpoStage":
        """`isolate_documents`: always so here. `loop`: what `Stage` takes."""
        from deepseek_lab.stages.on_policy.grpo import GrpoStage

        return GrpoStage(self, model, self._engine(data, loop["seed"]), balance, **loop)
