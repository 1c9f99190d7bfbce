"""From a composed Hydra config to checked, frozen Configs, with errors that name what was typed.

Every leaf of a choice group is instantiated on its own; its interpolations into the shape sheet
(`${model.kv_lora_rank}`) resolve on the way. When a leaf refuses a value that came from the sheet,
the error names the sheet's key, which is what the person wrote.

Left out: building anything. Nothing here reads data or makes a tensor.
"""

import re
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from deepseek_lab.command_line.unread import SHEET_READS as SHEET_READS
from deepseek_lab.config import CheckedConfig, ConfigError, nearest
from deepseek_lab.experiment.initial import network_of, shared_tokenizer, tokenizer_of
from deepseek_lab.experiment.trainer_settings import ProfileSettings, TrainerSettings
from deepseek_lab.model.rope import RopeConfig
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.planning.matching import UNMATCHED, Match
from deepseek_lab.tasks.task import Task

_INTERPOLATION = re.compile(r"\$\{([a-z_][\w.]*)\}")
C = TypeVar("C", bound=CheckedConfig)

PARTS = ("attention", "ffn", "mtp")
"""The leaves that the network is made of."""
LEAVES = (
    *("balance", "precision", "tokenizer", "data"),
    *("optimizer", "schedule", "hardware", "stage"),
)


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


@dataclass(frozen=True)
class ExperimentConfigs:
    """Everything a run is made of, checked."""

    model: Transformer.Config
    balance: Any
    precision: Any
    tokenizer: Any
    data: Any
    optimizer: Any
    schedule: Any
    hardware: Any
    stage: Any
    match: Match.Config
    trainer: TrainerSettings
    profile: ProfileSettings
    seed: int


def read_configs(cfg: DictConfig) -> ExperimentConfigs:
    """All Configs of a composed config. Raises ConfigError with the path of the offending key."""
    typed = _typed_model(cfg)
    leaves = {name: leaf(cfg, name) for name in LEAVES}
    if starts := [run for run in (cfg.init_from, getattr(leaves["stage"], "teacher", None)) if run]:
        # Its ids must mean what they meant to the weights. A run that goes on has the tokenizer in its own folder.
        leaves["tokenizer"] = tokenizer_of(cfg.resume) if cfg.resume else shared_tokenizer(starts)
    trainer = _checked(TrainerSettings, _plain(cfg.trainer, "trainer"), "trainer")
    profile = _checked(ProfileSettings, _plain(cfg.profile, "profile") if "profile" in cfg else {}, "profile")
    if isinstance(cfg.seed, bool) or not isinstance(cfg.seed, int) or cfg.seed < 0:
        raise ConfigError(f"must be an integer of at least 0, not {cfg.seed!r}", "seed")
    model = network_of(cfg.init_from, cfg.resume) or typed
    return ExperimentConfigs(
        model=model, **leaves, match=read_match(cfg), trainer=trainer, profile=profile, seed=cfg.seed
    )


def read_model(cfg: DictConfig) -> Transformer.Config:
    """The network alone. Raises ConfigError with the path of the offending key, DataError for a bad start."""
    typed = _typed_model(cfg)
    return network_of(cfg.get("init_from"), cfg.get("resume")) or typed


def _typed_model(cfg: DictConfig) -> Transformer.Config:
    """The network that the sheet and the parts describe."""
    sheet = read_sheet(cfg)
    own = {name: getattr(sheet, name) for name in SHEET_READS}
    model = Transformer.Config(**own, **{name: leaf(cfg, name) for name in PARTS})
    _check_attention(cfg, model)
    return model


def read_match(cfg: DictConfig) -> Match.Config:
    """The rule that makes the jobs of a sweep fair; none in the config of an older run. Raises ConfigError."""
    rule: Match.Config = leaf(cfg, "match") if "match" in cfg else UNMATCHED
    return rule


def task_of(cfg: DictConfig) -> Task:
    """The chosen task. Raises ConfigError with the path of the offending key."""
    try:
        task: Task = leaf(cfg, "task").build()
    except ConfigError as error:
        raise error if error.field.startswith("task") else error.at("task") from None
    return task


def read_sheet(cfg: DictConfig) -> ShapeSheet:
    """The shape sheet of a composed config."""
    values = _plain(cfg.model, "model")
    values["rope"] = _checked(RopeConfig, values["rope"], "model.rope")
    return _checked(ShapeSheet, values, "model")


def _plain(node: DictConfig, path: str) -> dict[str, Any]:
    missing = sorted(str(key) for key in OmegaConf.missing_keys(node))
    if missing:
        raise ConfigError("has no value; give one, or choose another option", f"{path}.{missing[0]}")
    return OmegaConf.to_container(node, resolve=True)  # type: ignore[return-value]


def _checked(kind: type[C], values: dict[str, Any], path: str) -> C:
    """`kind(**values)`, with unknown keys and refusals named under `path`."""
    known = {f.name for f in fields(kind)}
    for key in values:
        if key not in known:
            raise ConfigError(f"is unknown{nearest(key, known)}", f"{path}.{key}")
    try:
        return kind(**values)
    except ConfigError as error:
        raise error.at(path) from None


def leaf(cfg: DictConfig, name: str) -> Any:
    """Instantiates one choice group's leaf; only this project's own classes are accepted."""
    target = str(cfg[name].get("_target_", ""))
    if not target.startswith("deepseek_lab."):
        raise ConfigError(f"must name a class of deepseek_lab, not {target!r}", f"{name}._target_")
    try:
        return instantiate(cfg[name], _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ConfigError):
            raise _named_as_typed(cfg, _path_of(error, name), cause) from None
        raise ConfigError(f"cannot be built: {str(cause or error).splitlines()[0]}", name) from None


def _path_of(error: InstantiationException, name: str) -> str:
    """The node that was refused, which may lie inside the leaf: Hydra says it in the last line of its error."""
    _, found, path = str(error).rpartition("full_key: ")
    return path.strip() if found else name


def _named_as_typed(cfg: DictConfig, path: str, error: ConfigError) -> ConfigError:
    """`ffn.n_activated_experts` becomes `model.n_activated_experts` where the leaf took it from there."""
    return ConfigError(error.problem, _typed_path(cfg, f"{path}.{error.field}" if error.field else path))


def _typed_path(cfg: DictConfig, path: str) -> str:
    """Where the value at `path` stands: `stage.loss.clip_low` at `loss.clip_low`, since `stage.loss` is `${loss}`."""
    node: Any = OmegaConf.to_container(cfg, resolve=False)
    names = path.split(".")
    for depth, name in enumerate(names, start=1):
        node = node.get(name) if isinstance(node, dict) else None
        if isinstance(node, str) and (elsewhere := _INTERPOLATION.fullmatch(node)):
            return _typed_path(cfg, ".".join([elsewhere[1], *names[depth:]]))
    return path


def _check_attention(cfg: DictConfig, model: Transformer.Config) -> None:
    """Rules between a leaf and the width that only `build` would meet."""
    try:
        model.attention.rope_dim_at(model.dim)
    except ConfigError as error:
        raise _named_as_typed(cfg, "attention", error) from None
