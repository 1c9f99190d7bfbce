"""Which balance losses are on and how strongly, apart from them: it is checked before torch is imported."""

from dataclasses import dataclass

from deepseek_lab.config import CheckedConfig, ConfigError


@dataclass(frozen=True, kw_only=True)
class Balance(CheckedConfig):
    """How the experts are kept busy alike. Every α = 0 is off, and so is a bias speed of 0.

    bias_update_speed: γ. bias_update_until: fraction of the run after which γ is 0.
    n_devices, n_limited_devices: D and M of DeepSeek-V2, read only by the device and communication losses.
    """

    bias_update_speed: float
    bias_update_until: float
    sequence_wise_alpha: float
    batch_wise_alpha: float
    expert_alpha: float
    device_alpha: float
    communication_alpha: float
    n_devices: int
    n_limited_devices: int

    def check(self) -> None:
        self.require_positive("n_devices", "n_limited_devices")
        self.require_not_negative("bias_update_speed", "sequence_wise_alpha", "batch_wise_alpha")
        self.require_not_negative("expert_alpha", "device_alpha", "communication_alpha")
        if not 0.0 <= self.bias_update_until <= 1.0:
            raise ConfigError(f"must be a fraction from 0 to 1, not {self.bias_update_until}", "bias_update_until")
        if self.n_limited_devices > self.n_devices:
            raise ConfigError(f"must not exceed the {self.n_devices} n_devices", "n_limited_devices")

    def check_experts(self, n_routed_experts: int) -> None:
        """Refuses devices that cannot share the experts equally, where a loss counts devices. Raises ConfigError."""
        if (self.device_alpha or self.communication_alpha) and n_routed_experts % self.n_devices:
            raise ConfigError(f"must divide the {n_routed_experts} routed experts, not {self.n_devices}", "n_devices")

    @property
    def has_losses(self) -> bool:
        """Whether any auxiliary loss is on."""
        alphas = (self.sequence_wise_alpha, self.batch_wise_alpha, self.expert_alpha)
        return any(alphas) or bool(self.device_alpha or self.communication_alpha)

    def bias_speed(self, step: int, max_steps: int) -> float:
        """γ at a step counted from 0. DeepSeek-V3: 0.001 for 14.3T of 14.8T tokens, then 0."""
        return self.bias_update_speed if step < self.bias_update_until * max_steps else 0.0
