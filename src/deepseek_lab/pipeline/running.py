"""`scripts/pipeline.py`: runs what is not finished of a recipe, one process a step, and writes the report.

What a step is to take is printed before the first starts, what each took when all are done. The same command again
passes over finished steps; one that was cut off goes on from its last checkpoint. Ctrl-C lets the running step save
and stop; when this process is killed, its step ends with it.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from deepseek_lab.command_line.composition import composer_of
from deepseek_lab.command_line.run_lock import written
from deepseek_lab.pipeline import attempts
from deepseek_lab.pipeline.checking import read_recipe
from deepseek_lab.pipeline.costs import steps_for_equal_flops
from deepseek_lab.pipeline.minutes import minutes_table
from deepseek_lab.pipeline.planned import PlannedStep, planned
from deepseek_lab.pipeline.record import write_record
from deepseek_lab.pipeline.spending import chosen_checkpoint
from deepseek_lab.processor import Moment, free_cores, now, others, usable_cores
from deepseek_lab.report.road_report import write_road_report
from deepseek_lab.sweep.dispatch import Dispatch
from deepseek_lab.sweep.job_process import PlannedJob
from deepseek_lab.sweep.slots import Needs, Slots


class StepError(RuntimeError):
    """A step that failed; what it said of that has been shown."""


def run(cfg: DictConfig) -> None:
    """Raises StepError when a step fails, ConfigError when another process runs the same pipeline."""
    root, recipe = Path(str(cfg.folder)).absolute(), read_recipe(cfg)
    steps = up_to(planned(recipe, root), cfg.until)
    console = Console(stderr=True, markup=False, emoji=False)
    console.print(minutes_table(recipe.config.title, steps))
    with written(root):
        write_record(recipe, steps, root)
        for number, step in enumerate(steps, start=1):
            if not step.job.finished:
                console.print(f"{number} of {len(steps)}: {step.key}", highlight=False)
                run_step(step, cfg.n_threads or free_threads(console))
                write_record(recipe, steps, root)
        console.print(minutes_table(recipe.config.title, steps))
        console.print(f"report  {write_road_report(root)}", highlight=False, soft_wrap=True)


def free_threads(console: Console, seconds: float = 0.5, look: Callable[[], Moment] = now) -> int:
    """A thread for each core that other programs leave, seen for `seconds`; says so where they take some.

    A step that goes on keeps the threads that it began with (experiment/threads).
    """
    since = look()
    time.sleep(seconds)
    theirs = others(since, look())
    free = free_cores(theirs)
    if free is not None and free < usable_cores():
        cores = usable_cores()
        line = f"other programs keep {theirs:.1f} of {cores} cores busy: {free} computes (n_threads={cores} takes all)"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return free or usable_cores()


def up_to(steps: Sequence[PlannedStep], last: str | None) -> list[PlannedStep]:
    """The steps up to one of that name, its tests included; None: all."""
    if last is None:
        return list(steps)
    wanted: list[PlannedStep] = []
    for seed in dict.fromkeys(step.seed for step in steps):
        own = [step for step in steps if step.seed == seed]
        end = max(place for place, step in enumerate(own) if step.name == last)
        wanted += own[: end + 1]
    return wanted


def run_step(step: PlannedStep, n_threads: int) -> None:
    """Runs one step in a process of its own. Raises StepError when it does not finish."""
    job = step.job_with(known_now(step))
    failed: list[int] = []
    slots = Slots([Needs()], gpus=[], cores=n_threads, jobs_at_once=1)

    def note(_: PlannedJob, code: int) -> None:
        failed.append(code)

    attempts.begin(step.folder)
    try:
        Dispatch([job], slots, note).run()
    finally:
        attempts.end(step.folder)
    if not job.finished:
        raise StepError(f"step {step.key} failed; when its cause is gone, the same command goes on from there")


def known_now(step: PlannedStep) -> list[str]:
    """The overrides that depend on what other steps have cost."""
    if step.budget is not None:
        return chosen_checkpoint(step)
    return spent_steps(step) if step.step.equal_flops and step.test is None else []


def spent_steps(step: PlannedStep) -> list[str]:
    """`trainer.max_steps` of a control that may cost what other steps have cost."""
    import torch

    from deepseek_lab.experiment.configs import read_configs
    from deepseek_lab.planning.counts import count

    with composer_of("train") as composer:
        configs = read_configs(composer.compose(step.overrides))
    with torch.device("meta"):
        counts = count(configs.model.build(), configs.data.seq_len)
    n_steps = steps_for_equal_flops(step, configs.data.tokens_in(1), counts.flops_per_token)
    return [f"trainer.max_steps={n_steps}"]
