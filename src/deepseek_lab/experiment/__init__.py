"""Where Hydra's configuration becomes objects and a run: the only code that knows both sides.

`check` and `train` are what scripts/train.py calls; `evaluate` and `generate` read a finished run.
The heavy modules are imported when one of them is called, so that a mistyped option answers at once.
"""

from omegaconf import DictConfig


def check(cfg: DictConfig) -> None:
    """Raises ConfigError for a config that cannot run, at once where no torch is needed; see `checking.check`."""
    from deepseek_lab.experiment.first_look import first_look

    first_look(cfg)
    from deepseek_lab.experiment.checking import check as check_config

    check_config(cfg)


def automatic_precision(cfg: DictConfig) -> str:
    """What `precision=auto` stands for here. Raises ConfigError for what can be refused before torch is asked."""
    if cfg.trainer.accelerator == "cpu":
        return "fp32"
    from deepseek_lab.experiment.first_look import first_look

    first_look(cfg)
    import torch

    from deepseek_lab.precision.selection import automatic_name

    return automatic_name("cuda" if torch.cuda.is_available() else "cpu")


def train(cfg: DictConfig) -> float:
    """Runs one training job and returns its last validation loss; see `training.train`."""
    from deepseek_lab.experiment.training import train as train_config

    return train_config(cfg)
