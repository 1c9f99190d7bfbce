"""Trains one composed job in this process, as its own process would."""

import json

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from deepseek_lab.command_line.jobs import task_config
from deepseek_lab.experiment.training import TrainingRun


def one_step(job, folder):
    """Fits a job (of one step) in `folder` -> summary.json."""
    config = job.config.copy()
    OmegaConf.set_struct(config, False)
    config.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(config)
    folder.mkdir()
    threads = torch.get_num_threads()
    TrainingRun(task_config(job.config), folder).fit()
    torch.set_num_threads(threads)
    assert (folder / "DONE").is_file()
    return json.loads((folder / "summary.json").read_text())
