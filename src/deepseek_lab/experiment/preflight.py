"""`scripts/preflight.py`: whether reinforcement learning has something to learn from, before it spends anything.

Questions are asked as training would ask them: the same prompt, temperature, lengths and rewards, a group of
answers to each. Printed are a table and a verdict in plain words, and on stdout the figures as one JSON object.

Left out: a promise. The verdict reads the start, not what a learning rate will make of it.
"""

import json
import sys
from dataclasses import asdict

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from deepseek_lab.config import ConfigError
from deepseek_lab.data.prompts import PromptData
from deepseek_lab.experiment.finished import FinishedRun, device_of, find_run
from deepseek_lab.experiment.leaf import leaf
from deepseek_lab.experiment.preflight_modes import Attempted, attempted, direct, thinking
from deepseek_lab.experiment.preflight_step import CHOSEN, Step, timed
from deepseek_lab.experiment.preflight_verdict import verdict
from deepseek_lab.experiment.published import PublishedModel
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.rollout.engine import RolloutEngine
from deepseek_lab.tasks.task import SPLITS


def check_preflight(cfg: DictConfig) -> None:
    """Raises ConfigError for values that no preflight has."""
    if cfg.split not in SPLITS:
        raise ConfigError(f"must be {', '.join(SPLITS[:-1])} or {SPLITS[-1]}, not {cfg.split!r}", "split")
    for name, least in (("questions", 1), ("batch_size", 1), ("steps", 0), ("seed", 0)):
        if not isinstance(cfg[name], int) or isinstance(cfg[name], bool) or cfg[name] < least:
            raise ConfigError(f"must be an integer of at least {least}, not {cfg[name]!r}", name)
    for name in CHOSEN:
        leaf(cfg, name)
    device_of(cfg.accelerator)


def preflight(cfg: DictConfig) -> float:
    """Prints what was measured and what it means; returns pass@1. Raises ConfigError, DataError."""
    check_preflight(cfg)
    if cfg.n_threads:
        torch.set_num_threads(cfg.n_threads)
    device, run = device_of(cfg.accelerator), find_run(cfg.checkpoint)
    model = run.model(device)
    asked, with_thought, without = measured(cfg, run, model)
    said = verdict(asked, with_thought, without, cfg.rollout.max_new_tokens)
    step = timed(cfg, run) if cfg.steps else None
    figures = {
        "checkpoint": str(run.checkpoint),
        "asked": asdict(asked),
        "thinking": asdict(with_thought),
        "direct": asdict(without),
        "step": None if step is None else {**asdict(step), "seconds": step.seconds},
        "verdict": said.word,
        "reasons": said.reasons,
    }
    print(json.dumps(figures, indent=1))
    Console(stderr=True, markup=False, emoji=False).print(table_of(asked, with_thought, without))
    for line in [*_step_line(step), f"verdict: {said.word}", *(f"- {reason}" for reason in said.reasons)]:
        print(line, file=sys.stderr)
    return asked.pass_1


def measured(
    cfg: DictConfig, run: FinishedRun | PublishedModel, model: Transformer
) -> tuple[Attempted, Attempted, Attempted]:
    """As training asks, with the thought opened, and without a thought. Raises ConfigError."""
    engine = _engine(cfg, run, model)
    prompt, data, task = engine.data.config.prompt, engine.data, engine.data.task
    found = []
    for way in (prompt.build(), thinking(prompt, data.chat), direct(prompt)):
        data.put_by(way)
        engine.drawing.require_room(data.held_out, data.config.seq_len)
        groups = engine.evaluate(model, engine.config.group_size)
        found.append(attempted(groups, [task.vote(text) for group in groups for text in group.said]))
    return found[0], found[1], found[2]


def _engine(cfg: DictConfig, run: FinishedRun | PublishedModel, model: Transformer) -> RolloutEngine:
    rollout, prompt, task = (leaf(cfg, name) for name in ("rollout", "template", "task"))
    config = PromptData.Config(
        task=task,
        prompt=prompt,
        questions=1,
        validation_questions=cfg.questions,
        seq_len=model.config.max_seq_len,
        batch_size=1,
        answers=rollout.group_size,
    )
    data = PromptData(config, task.build(), run.tokenizer(), cfg.seed)
    data.held_out = data.task.examples(cfg.split, cfg.questions)
    engine = RolloutEngine(rollout, data, cfg.seed)
    engine.to(torch.device(next(model.parameters()).device))
    return engine


def table_of(asked: Attempted, with_thought: Attempted, without: Attempted) -> Table:
    """A row a figure, a column a way to ask."""
    ways = (asked, with_thought, without)
    table = Table("", "as asked", "behind <think>", "behind <answer>")
    table.add_row("pass@1", *(_with_interval(way.pass_1, way.pass_1_interval) for way in ways))
    table.add_row(f"pass@{asked.k}", *(_with_interval(way.pass_k, way.pass_k_interval) for way in ways))
    for words, name in (
        ("groups without spread", "no_spread"),
        ("no answer to be read", "unread"),
        ("cut off", "cut_off"),
        ("with a thought", "thinks"),
    ):
        table.add_row(words, *(f"{getattr(way, name):.2f}" for way in ways))
    table.add_row("tokens", *(f"{way.length:.0f}" for way in ways))
    return table


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.2f} ({interval[0]:.2f}–{interval[1]:.2f})"


def _step_line(step: Step | None) -> list[str]:
    if step is None:
        return []
    parts = f"rollout {step.rollout:.1f}, rewards {step.reward:.1f}, updates {step.update:.1f}"
    return [f"an iteration takes {step.seconds:.1f} s ({parts}) and {step.memory / 2**30:.1f} GiB"]
