"""What a config holds that is no leaf: the shape sheet, the trainer's settings, the seed.

These are what is mistyped most, and no class of the network is needed to refuse them: nothing here imports torch.
"""

from dataclasses import dataclass, fields

from omegaconf import DictConfig

from deepseek_lab.config import CheckedConfig, ConfigError
from deepseek_lab.experiment.leaf import checked, plain
from deepseek_lab.experiment.trainer_settings import ProfileSettings, TrainerSettings
from deepseek_lab.model.rope_config import RopeConfig


@dataclass(frozen=True, kw_only=True)
class ShapeSheet(CheckedConfig):
    """A size: what every kind of attention and FFN measures at one scale (`model/*.yaml`)."""

    dim: int
    n_layers: int
    vocab_size: int
    max_seq_len: int
    n_heads: int
    n_kv_heads: int
    head_dim: int | None
    qkv_bias: bool
    q_lora_rank: int | None
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    intermediate_size: int
    moe_intermediate_size: int
    n_routed_experts: int
    n_shared_experts: int
    n_activated_experts: int
    n_dense_layers: int
    n_expert_groups: int
    n_limited_groups: int
    route_scale: float
    softmax_route_scale: float
    norm_eps: float
    init_std: float
    tie_embeddings: bool
    rope: RopeConfig

    def check(self) -> None:
        sizes = {f.name for f in fields(self) if f.type in (int, int | None)}
        self.require_positive(*(sizes - {"n_shared_experts", "n_dense_layers"}))
        self.require_not_negative("n_shared_experts", "n_dense_layers")
        if self.head_dim is None and self.dim % (2 * self.n_heads):
            divisors = [n for n in range(1, self.dim + 1) if self.dim % (2 * n) == 0]
            if not divisors:
                raise ConfigError(f"= {self.dim} is odd, and heads of an even width cannot fill it", "dim")
            close = min(divisors, key=lambda n: abs(n - self.n_heads))
            raise ConfigError(
                f"= {self.n_heads} does not cut model.dim={self.dim} into heads of an even width; {close} would",
                "n_heads",
            )
        if self.norm_eps <= 0 or self.init_std <= 0:
            raise ConfigError("must be above 0", "norm_eps" if self.norm_eps <= 0 else "init_std")


def read_sheet(cfg: DictConfig) -> ShapeSheet:
    """The shape sheet of a composed config."""
    values = plain(cfg.model, "model")
    values["rope"] = checked(RopeConfig, values["rope"], "model.rope")
    return checked(ShapeSheet, values, "model")


def read_trainer(cfg: DictConfig) -> TrainerSettings:
    """How long and on what a run goes. Raises ConfigError."""
    return checked(TrainerSettings, plain(cfg.trainer, "trainer"), "trainer")


def read_profile(cfg: DictConfig) -> ProfileSettings:
    """Which steps are profiled; none in the config of an older run. Raises ConfigError."""
    return checked(ProfileSettings, plain(cfg.profile, "profile") if "profile" in cfg else {}, "profile")


def read_seed(cfg: DictConfig) -> int:
    """The seed of everything random. Raises ConfigError."""
    if isinstance(cfg.seed, bool) or not isinstance(cfg.seed, int) or cfg.seed < 0:
        raise ConfigError(f"must be an integer of at least 0, not {cfg.seed!r}", "seed")
    seed: int = cfg.seed
    return seed
