"""`resume=<run folder>` and `resume=auto`: the command line that goes on with an unfinished run.

A run stores what was typed for it in `.hydra/overrides.yaml`. Resuming types the same again, in the
same folder, with the new overrides on top; so the config is composed anew and every knob of the run
can still be changed. What is in a checkpoint, and whether it can be read, is the training code's
business: here only the folder is found.

A folder that holds a run already is used again for the same run only (`require_same_run_in`): Hydra would write the
new config over that of the run before anybody else looks.

Left out on purpose: going back to an older checkpoint. The run's curves would then hold two pasts.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deepseek_lab import advice
from deepseek_lab.advice import quoted
from deepseek_lab.command_line.composition import Composer, line_of, shell_key
from deepseek_lab.command_line.naming import identity_values
from deepseek_lab.command_line.run_lock import is_written
from deepseek_lab.command_line.typed_paths import same_place
from deepseek_lab.config import ConfigError

_MAY_CHANGE = frozenset({"optimizer", "schedule", "balance", "precision", "trainer"})
"""Top-level keys in which a run that is resumed may differ from what it was."""

_STEP = re.compile(r"step_(\d+)\.ckpt")

MAY_DIFFER = ("resume", "trainer", "paths", "hardware", "profile", "debug")
"""Top-level keys in which a run that `resume=auto` finds may differ from what is typed."""


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run folder, oldest first."""
    return sorted((run / "checkpoints").glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)


def stored_overrides(run: Path) -> list[str]:
    """What was typed for a run, `resume` left out. Raises ConfigError when the folder does not say."""
    path = run / ".hydra" / "overrides.yaml"
    if not path.is_file():
        raise ConfigError(f"{run} is no run folder: it has no .hydra/overrides.yaml", "resume")
    return [str(line) for line in OmegaConf.load(path) if not str(line).startswith("resume=")]


def merged(stored: Sequence[Override], typed: Sequence[Override]) -> list[str]:
    """Stored overrides with the typed ones on top: a new value for a key replaces the stored one."""
    replaced = {shell_key(override) for override in typed}
    kept = [override for override in stored if shell_key(override) not in replaced]
    return [line_of(override) for override in [*kept, *typed]]


def run_folder(value: str) -> Path:
    """The run folder that `resume=value` names: itself, or the one its last checkpoint lies in."""
    path = Path(value).expanduser().resolve()
    if not path.exists():
        raise ConfigError(f"names a folder that does not exist: {value}", "resume")
    if path.is_dir():
        return path
    run = path.parent.parent
    if path.suffix != ".ckpt" or path.parent.name != "checkpoints":
        raise ConfigError(f"takes a run folder or auto; {value} is a file", "resume")
    if checkpoints(run)[-1] != path:
        usable = advice.typed([advice.override("resume", run)])
        raise ConfigError(f"goes on from a run's last checkpoint; {value} is an older one: use {usable}", "resume")
    return run


def _same_choices(run: Path, typed: Sequence[Override], groups: Mapping[str, object]) -> bool:
    """Whether a run was made with the values that were typed, written out for it or not."""
    try:
        config = OmegaConf.load(run / ".hydra" / "config.yaml")
        choices = OmegaConf.load(run / ".hydra" / "hydra.yaml").hydra.runtime.choices
        return all(_had(override, config, choices, groups) for override in typed)
    except (OSError, AttributeError, yaml.YAMLError, OmegaConfBaseException):
        return False


def _had(override: Override, config: Any, choices: Any, groups: Mapping[str, object]) -> bool:
    """Whether a stored config holds the value that an override gives."""
    key = shell_key(override)
    if key.split(".")[0] in MAY_DIFFER or override.is_hydra_override():
        return True
    had = choices.get(key) if key in groups else OmegaConf.select(config, key)
    return bool(had == override.value() or str(had) == str(override.value()))


def newest_unfinished(logs: Path, agrees: Callable[[Path], bool]) -> Path:
    """The run under `logs` with the newest checkpoint that has no DONE, no writer, and `agrees`. Raises ConfigError."""
    folders = [*logs.glob("*/runs/*"), *logs.glob("*/multiruns/*/*")]
    unfinished = [run for run in folders if checkpoints(run) and not (run / "DONE").exists() and not is_written(run)]
    newest_first = sorted(unfinished, key=lambda run: checkpoints(run)[-1].stat().st_mtime_ns, reverse=True)
    for run in newest_first:
        if agrees(run):
            return run
    if newest_first:
        problem = f"finds no unfinished run made with these overrides; the newest with others is {newest_first[0]}"
        raise ConfigError(problem, "resume=auto")
    raise ConfigError(f"finds no unfinished run with a checkpoint under {logs}", "resume=auto")


def _check_goes_on(run: Path, config: DictConfig) -> None:
    """Refuses a folder with nothing to go on from, and a finished run whose end was not moved."""
    if not checkpoints(run):
        raise ConfigError(f"{run} has no checkpoint in checkpoints/", "resume")
    had = OmegaConf.select(OmegaConf.load(run / ".hydra" / "config.yaml"), "trainer.max_steps")
    wanted = OmegaConf.select(config, "trainer.max_steps")
    if not (run / "DONE").exists():
        _check_end_lies_ahead(run, had, wanted)
    elif not (isinstance(had, int) and isinstance(wanted, int) and wanted > had):
        raise ConfigError(f"{run} is finished; a larger trainer.max_steps than {had} goes on with it", "resume")


def _check_end_lies_ahead(run: Path, had: Any, wanted: Any) -> None:
    """Refuses an end that the run has passed; one that it reached, and was cut off before its mark, is its own."""
    steps = [int(found[1]) for path in checkpoints(run) if (found := _STEP.fullmatch(path.name))]
    if not steps or not isinstance(wanted, int):
        return
    if wanted < max(steps) or (wanted == max(steps) and wanted != had):
        problem = f"= {wanted} lies not ahead of the run's checkpoint of step {max(steps)}; a larger one goes on"
        raise ConfigError(problem, "trainer.max_steps")


def require_same_run_in(folder: Path, config: DictConfig, key: str) -> None:
    """Raises ConfigError where a folder holds a run, begun or finished, with other values than `config`.

    key: what named the folder. Values that change no number of a run may differ, and keys that the stored config does
    not know yet (an older run) are not compared.
    """
    stored = folder / ".hydra" / "config.yaml"
    if not stored.is_file() or not (checkpoints(folder) or (folder / "DONE").exists()):
        return
    try:
        theirs = dict(_flat("", identity_values(OmegaConf.load(stored))))  # type: ignore[arg-type]
    except (OSError, yaml.YAMLError, OmegaConfBaseException):
        raise ConfigError(
            f"{folder} holds a run whose .hydra/config.yaml cannot be read; take another folder", key
        ) from None
    ours = dict(_flat("", identity_values(config)))
    for name, value in theirs.items():
        if name not in ours:
            raise ConfigError(
                f"{folder} holds a run with {name}={value}, which this one has not; take another folder", key
            )
        if not same_place(name, value, ours[name]):
            problem = f"{folder} holds a run with {name}={value}, not {ours[name]}; take another folder"
            if name.split(".")[0] in _MAY_CHANGE:
                changed = advice.typed([advice.override(name, ours[name])])
                problem += f", or go on with that run: {advice.resume_command(folder)} {changed}"
            raise ConfigError(problem, key)


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _flat(f"{path}.{key}" if path else str(key), child)
    else:
        yield path, value


def resumed_overrides(composer: Composer, overrides: Sequence[str]) -> list[str] | None:
    """The overrides that go on with the run which `resume=` names, or None when nothing is resumed.

    Raises ConfigError when there is no such run.
    """
    parsed = composer.parse(overrides)
    asked = [override for override in parsed if shell_key(override) == "resume"]
    if not asked or asked[-1].value() is None or "resume" not in composer.base:
        return None
    typed = [override for override in parsed if override not in asked]
    value = str(OmegaConf.create({"resume": asked[-1].value()}).resume)  # `\\${` in a quoted text is a text
    if value != "auto" and any(shell_key(override) == "hydra.run.dir" for override in typed):
        return None  # rewritten already: the ranks that Lightning starts get the line that rank 0 made
    if value == "auto":
        logs = Path(composer.compose([line_of(override) for override in typed]).paths.logs)
        run = newest_unfinished(logs, lambda folder: _same_choices(folder, typed, composer.groups()))
    else:
        run = run_folder(value)
    lines = merged(composer.parse(stored_overrides(run)), typed)
    _check_goes_on(run, composer.compose([*lines, "hydra.mode=RUN"]))
    return [*lines, f"resume={quoted(run)}", "hydra.mode=RUN", f"hydra.run.dir={quoted(run)}"]
