"""What is drawn at each iteration of an on-policy stage, and what it is worth."""

from dataclasses import dataclass
from typing import Literal

from deepseek_lab.config import CheckedConfig, ConfigError


@dataclass(frozen=True, kw_only=True)
class RolloutConfig(CheckedConfig):
    """The knobs of a rollout.

    temperature: the only choice in sampling: training takes log-probabilities of the very distribution that was
        drawn from, and a filter (top-k, top-p, min-p) or a penalty would make it another
    rewards: weights of the parts of a verdict, `total` being the task's own sum, which None takes alone
    family_rewards: for tasks of a mixture weights of their own, {instructions: {reward_model: 1.0}}
    reward_seconds: for the verdict on one answer; what takes longer is a named failure
    curriculum: pass_rate asks more questions of the difficulties that are solved about half of the time
    reward_model: a run of stage=reward, whose score is the part `reward_model`; null for none
    reward_model_reads: what it is shown of an answer, as it was in training: what comes after the thought (R1), or all
        of it (DeepSeekMath, whose judge looks at the steps)
    """

    group_size: int
    max_new_tokens: int
    temperature: float
    max_rows: int
    rewards: dict[str, float] | None
    family_rewards: dict[str, dict[str, float]] | None
    reward_seconds: float
    reward_model: str | None
    curriculum: Literal["none", "pass_rate"]
    reward_model_reads: Literal["summary", "answer"] = "summary"

    def check(self) -> None:
        self.require_positive("group_size", "max_new_tokens", "max_rows")
        if self.temperature <= 0:
            raise ConfigError(
                f"must be above 0, not {self.temperature}: the likeliest answer has no group", "temperature"
            )
        if self.reward_seconds <= 0:
            raise ConfigError(f"must be above 0, not {self.reward_seconds}", "reward_seconds")
        if not any(self.weights.values()):
            raise ConfigError("gives no part a weight; null takes the task's own total", "rewards")
        for family, weights in (self.family_rewards or {}).items():
            if not any(weights.values()):
                raise ConfigError("gives no part a weight", f"family_rewards.{family}")

    def judged_by(self, part: str, family: str) -> bool:
        """Whether a part has a weight in the reward of answers to this family's questions."""
        return bool((self.family_rewards or {}).get(family, self.weights).get(part))

    @property
    def weights(self) -> dict[str, float]:
        """By part, zeros included."""
        return {"total": 1.0} if self.rewards is None else self.rewards
