"""What of a config can be refused without importing torch, which takes longer than all the rest of an answer.

The shape sheet, the trainer's settings, the seed, the leaves whose Config stands apart from its module, and whether
there is anything where a model is named. Whatever passes is looked at again, with everything else, by `checking.check`.
"""

from omegaconf import DictConfig, OmegaConf

from deepseek_lab.checkpoint.located import require_located
from deepseek_lab.experiment.leaf import leaf
from deepseek_lab.experiment.sheet import read_profile, read_seed, read_sheet, read_trainer

WITHOUT_TORCH = tuple(
    f"deepseek_lab.{name}."
    for name in (
        *("data", "tasks", "text", "rollout.config", "objectives.balance_config", "objectives.policy_loss_config"),
        *("model.attention.grouped_config", "model.attention.latent_config", "model.mtp_config"),
        *("model.ffn.dense_config", "model.ffn.moe_config"),
        *("optim.adamw_config", "optim.muon_config", "optim.schedule"),
        "stages",
        "precision.recipe",
    )
)
"""Where the classes stand that can be imported at once."""

_LEAVES = (
    *("attention", "ffn", "balance", "mtp", "tokenizer", "data", "optimizer", "schedule"),
    *("stage", "loss", "task", "rollout", "template", "precision"),
)


def first_look(cfg: DictConfig) -> None:
    """Raises ConfigError, with the path of the key, for what needs no torch to be refused; DataError for no model."""
    read_sheet(cfg)
    read_trainer(cfg)
    read_profile(cfg)
    read_seed(cfg)
    for name in _LEAVES:
        node = cfg.get(name)
        if isinstance(node, DictConfig) and str(node.get("_target_", "")).startswith(WITHOUT_TORCH):
            leaf(cfg, name)
    _look_for_models(cfg)


def _look_for_models(cfg: DictConfig) -> None:
    if cfg.get("resume"):  # everything lies in the run's own folder; what it began with may be gone
        return
    for key in ("init_from", "stage.teacher"):
        if isinstance(path := OmegaConf.select(cfg, key), str):
            require_located(path)
