"""`scripts/evaluate.py`: a checkpoint's loss on held-out or any other text, the needle test, or attempts at a task."""

import json
import statistics
from typing import Any, TypeVar

import torch
from omegaconf import DictConfig, OmegaConf

from deepseek_lab.checkpoint.native import read_checkpoint
from deepseek_lab.config import ConfigError, DataError
from deepseek_lab.experiment.attempts import AttemptsTest, evaluate_task
from deepseek_lab.experiment.configs import read_configs, task_of
from deepseek_lab.experiment.finished import FinishedRun, device_of, model_at
from deepseek_lab.experiment.harness import HarnessTest
from deepseek_lab.experiment.needle import NeedleTest, evaluate_needles
from deepseek_lab.experiment.published import PublishedModel
from deepseek_lab.experiment.text_loss import TextTest, evaluate_text
from deepseek_lab.precision.applying import apply
from deepseek_lab.precision.selection import surroundings
from deepseek_lab.serving.speaker import engine_config, load_speaker, sampling_of
from deepseek_lab.stages.held_out import evaluate as held_out

KINDS = ("held_out", "text", "needle", "task", "lm_eval")
T = TypeVar("T")


def evaluate(cfg: DictConfig) -> float:
    """Prints what was measured as one JSON object; returns val/loss, loss, the share of needles found, or pass@k.

    Raises DataError when the text is not the one the run was trained on (another Python version, say).
    """
    check_evaluation(cfg)
    device = device_of(cfg.accelerator)
    if cfg.n_threads:
        torch.set_num_threads(cfg.n_threads)
    run = model_at(cfg.checkpoint, cfg.weights)
    figures = _figures(cfg, run, device)
    print(json.dumps({"checkpoint": str(run.checkpoint), **figures}, indent=1))
    if cfg.what == "task":
        return float(figures[f"eval/{figures['task']}/pass@{min(cfg.attempts.k)}"])
    if cfg.what == "lm_eval":
        return statistics.fmean(_main_figures(figures["lm_eval"]))
    if cfg.what == "needle":
        return statistics.fmean(v for name, v in figures.items() if name.startswith("eval/"))
    return float(figures["loss" if cfg.what == "text" else "val/loss"])


def _figures(cfg: DictConfig, run: FinishedRun | PublishedModel, device: torch.device) -> dict[str, Any]:
    if cfg.what == "needle":
        return evaluate_needles(run, _test_of(cfg, NeedleTest, "needle"), device)
    if cfg.what == "text":
        return evaluate_text(run, _test_of(cfg, TextTest, "text"), device)
    if cfg.what == "lm_eval":
        from deepseek_lab.experiment.lm_harness import evaluate_harness

        return evaluate_harness(run, load_speaker(cfg, run), _test_of(cfg, HarnessTest, "lm_eval"))
    if cfg.what == "task":
        return evaluate_task(cfg, run, task_of(cfg), _test_of(cfg, AttemptsTest, "attempts"))
    return {"split": cfg.split, **_held_out_loss(cfg, run, device)}


def _main_figures(results: dict[str, Any]) -> list[float]:
    """Each task's first metric, as the harness orders them."""
    metrics = ([v for k, v in of_task.items() if "," in k and "stderr" not in k] for of_task in results.values())
    return [float(values[0]) for values in metrics]


def _held_out_loss(cfg: DictConfig, run: FinishedRun | PublishedModel, device: torch.device) -> dict[str, float]:
    """The numbers that training logs at a validation, on the split asked for, in the precision of the run."""
    config = run.config
    config.resume = str(run.folder)  # its own tokenizer, should it have started from another run
    configs = read_configs(config)
    if configs.data.kind == "preferences":
        raise ConfigError(
            f"names a run that learnt from pairs, whose loss is no held-out text's: {run.folder}", "checkpoint"
        )
    share = "validation_share" if cfg.split == "validation" else "test_share"
    if not getattr(configs.data, share, 1):
        raise ConfigError(f"= {cfg.split}: the run held no such text out (data.{share} = 0): {run.folder}", "split")
    data = configs.data.build(configs.tokenizer, configs.model.vocab_size, configs.seed)
    trained_on = read_checkpoint(run.checkpoint)["run"]["data"]
    if trained_on != data.manifest["hash"]:
        raise DataError(
            f"{run.checkpoint}: was trained on data {trained_on}, here the same config gives {data.manifest['hash']}"
        )
    limit = configs.trainer.validation_batches if cfg.batches is None else cfg.batches
    batches = data.validation_batches(limit, split="val" if cfg.split == "validation" else "test")
    bytes_V = torch.as_tensor(data.token_bytes_V)
    model, narrow = run.model(device), surroundings(configs.precision, device.type) == "bf16"
    apply(model, configs.precision, device.type)
    with torch.autocast(device.type, torch.bfloat16, enabled=narrow):
        return held_out(model, batches, bytes_V, configs.data.isolate_documents, data.source_names)


def _test_of(cfg: DictConfig, cls: type[T], node: str) -> T:
    """The knobs of one kind of evaluation. Raises ConfigError with their path."""
    values: Any = OmegaConf.to_container(cfg[node], resolve=True)
    try:
        return cls(**values)
    except ConfigError as error:
        raise error.at(node) from None


def check_evaluation(cfg: DictConfig) -> None:
    """Raises ConfigError for values that no evaluation has."""
    if cfg.what not in KINDS:
        raise ConfigError(f"must be {', '.join(KINDS[:-1])} or {KINDS[-1]}, not {cfg.what!r}", "what")
    if cfg.split not in ("validation", "test"):
        raise ConfigError(f"must be validation or test, not {cfg.split!r}", "split")
    if cfg.batches is not None and (not isinstance(cfg.batches, int) or cfg.batches < 1):
        raise ConfigError(f"must be null or an integer of at least 1, not {cfg.batches!r}", "batches")
    for node, cls in (("needle", NeedleTest), ("text", TextTest), ("attempts", AttemptsTest), ("lm_eval", HarnessTest)):
        _test_of(cfg, cls, node)
    if cfg.what == "lm_eval":
        _test_of(cfg, HarnessTest, "lm_eval").require_usable()
    if cfg.what == "text" and cfg.text.path is None:
        raise ConfigError("names the file or folder to measure", "text.path")
    task_of(cfg)
    sampling_of(cfg)
    engine_config(cfg)
    device_of(cfg.accelerator)
