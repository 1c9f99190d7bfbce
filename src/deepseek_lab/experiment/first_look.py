"""What of a config can be refused without importing torch, which takes longer than all the rest of an answer.

The shape sheet, the trainer's settings, the seed, and the leaves whose modules need no torch. Whatever passes is
looked at again, with everything else, by `checking.check`. Left out: the leaves whose Config stands in its module
(attention, ffn, mtp, optimizer, data …), which a `nn.Module` or a batch of tensors brings torch to.
"""

from omegaconf import DictConfig

from deepseek_lab.experiment.leaf import leaf
from deepseek_lab.experiment.sheet import read_profile, read_seed, read_sheet, read_trainer

WITHOUT_TORCH = (
    *("deepseek_lab.optim.schedule.", "deepseek_lab.rollout.config.", "deepseek_lab.tasks.", "deepseek_lab.text."),
    *("deepseek_lab.stages.pretrain_config.", "deepseek_lab.stages.sft_config."),
)
"""Where the classes stand that can be imported at once."""

_LEAVES = ("schedule", "stage", "tokenizer", "task", "rollout", "template")


def first_look(cfg: DictConfig) -> None:
    """Raises ConfigError, with the path of the key, for what needs no torch to be refused."""
    read_sheet(cfg)
    read_trainer(cfg)
    read_profile(cfg)
    read_seed(cfg)
    for name in _LEAVES:
        node = cfg.get(name)
        if isinstance(node, DictConfig) and str(node.get("_target_", "")).startswith(WITHOUT_TORCH):
            leaf(cfg, name)
