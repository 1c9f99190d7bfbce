"""Searches good values with Optuna: `python scripts/tune.py 'optimizer.lr=tag(log,interval(1e-4,1e-2))' model=nano`.

Every override that scripts/train.py takes may stand here. Written as for Hydra's sweepers, it is searched:
  attention=mha,mla                            one of several
  'model.n_layers=range(2,7)'                  a whole number, the last excluded
  'optimizer.lr=interval(1e-4,1e-2)'           a number in between; 'tag(log,interval(…))' on a log scale,
  'data.batch_size=int(interval(4,32))'        'int(interval(…))' a whole one
Each trial is a run of its own (logs/tune/STUDY/trial-0000, its output beside it); the study is kept in study.db, and
the same command again goes on with it. `python scripts/report.py runs=logs/tune/STUDY` compares the runs.
Needs the extra: pip install -e '.[optuna]'.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from deepseek_lab.advice import override
from deepseek_lab.command_line import answered
from deepseek_lab.config import ConfigError
from deepseek_lab.metrics import describe

ROOT = Path(__file__).resolve().parent.parent
TRAIN = ROOT / "scripts" / "train.py"
REFUSED = 2
"""The exit code of a command line that is wrong: the next trial's would be, too."""


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+", help="what is searched, and what is fixed")
    parser.add_argument("--trials", type=int, default=20, help="how many the study shall have in all (default 20)")
    parser.add_argument("--study", default="study", help="its name, and its folder's (default study)")
    parser.add_argument(
        "--metric", default="val/bits_per_byte", help="a curve of metrics.py (default val/bits_per_byte)"
    )
    parser.add_argument(
        "--logs", type=Path, default=ROOT / "logs" / "tune", help="where studies are (default logs/tune)"
    )
    return parser.parse_args(arguments)


def distribution(override: Override) -> Any:
    """What Optuna draws a searched override from."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    if isinstance(value, IntervalSweep):
        low: Any = value.start
        high: Any = value.end
        whole = isinstance(low, int) and isinstance(high, int)
        return (IntDistribution if whole else FloatDistribution)(low, high, log="log" in value.tags)
    if isinstance(value, RangeSweep) and isinstance(value.start, int) and isinstance(value.step, int):
        return IntDistribution(value.start, int(value.stop or 0) - 1, step=value.step)
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def direction(metric: str) -> Literal["minimize", "maximize"]:
    """Which way a curve is better, in Optuna's word. Raises KeyError for no curve, ConfigError where neither is."""
    better = describe(metric).better
    if not better:
        raise ConfigError(f"{metric} is neither better low nor high", "--metric")
    return "maximize" if better == "higher" else "minimize"


def finished(study: Any) -> int:
    """How many trials came to an end, a value or a failure."""
    return sum(trial.state.is_finished() for trial in study.trials)


def open_study(chosen: argparse.Namespace, space: dict[str, Any], fixed: list[str]) -> Any:
    """The study of this name, new or as it was left. Raises ConfigError for one that searches something else."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = chosen.logs / chosen.study
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=chosen.study,
        storage=f"sqlite:///{folder}/study.db",
        direction=direction(chosen.metric),
        load_if_exists=True,
    )
    asked = json.dumps([chosen.metric, {key: str(value) for key, value in sorted(space.items())}, sorted(fixed)])
    if finished(study) and study.user_attrs["asked"] != asked:
        raise ConfigError(f"{chosen.study} was begun with other overrides or another metric; name another", "--study")
    study.set_user_attr("asked", asked)
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
    return study


def run_trial(chosen: argparse.Namespace, number: int, overrides: list[str]) -> float | None:
    """The metric of one run; None when it failed. Raises ConfigError when its command line was refused."""
    folder = chosen.logs / chosen.study / f"trial-{number:04d}"
    with folder.with_suffix(".log").open("w") as log:
        command = [sys.executable, str(TRAIN), *overrides, override("hydra.run.dir", folder)]
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    if code == 0:
        value = json.loads((folder / "summary.json").read_text())["metrics"].get(chosen.metric)
        return None if value is None else float(value)
    lines = folder.with_suffix(".log").read_text().splitlines() or ["no output"]
    if code == REFUSED:
        raise ConfigError(lines[-1].removeprefix("error: "))
    print(f"trial {number} failed: {lines[-1]}", file=sys.stderr)
    return None


def tune(chosen: argparse.Namespace) -> None:
    """Asks, trains and tells until the study has its trials; then says which was the best."""
    parsed = OverridesParser.create().parse_overrides(chosen.overrides)
    space = {line.get_key_element(): distribution(line) for line in parsed if line.is_sweep_override()}
    fixed = [str(line.input_line) for line in parsed if not line.is_sweep_override()]
    if not space:
        raise ConfigError("hold nothing to search, such as optimizer.lr=interval(1e-4,1e-2)", "the overrides")
    study = open_study(chosen, space, fixed)
    while finished(study) < chosen.trials:
        trial = study.ask(space)
        drawn = [f"{key}={typed(value)}" for key, value in trial.params.items()]
        value = run_trial(chosen, trial.number, [*fixed, *drawn])
        study.tell(trial, value, state=None if value is not None else _failed())
        print(
            f"trial {trial.number}: {chosen.metric} {'failed' if value is None else f'{value:.4f}'}  {' '.join(drawn)}"
        )
    print(best_of(study))


def typed(value: Any) -> str:
    """A drawn value as it stands in an override; six digits are plenty."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def best_of(study: Any) -> str:
    """The line about the best trial."""
    if not any(trial.value is not None for trial in study.trials):
        return "every trial failed"
    best = study.best_trial
    words = " ".join(f"{key}={typed(value)}" for key, value in best.params.items())
    return f"best: trial {best.number}, {best.value:.4f}: {words}"


def _failed() -> Any:
    from optuna.trial import TrialState

    return TrialState.FAIL


def main() -> int:
    chosen = parse(sys.argv[1:])
    return answered(lambda: searched(chosen))


def searched(chosen: argparse.Namespace) -> int:
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError:
        raise ConfigError("needs optuna: pip install -e '.[optuna]'") from None
    try:
        tune(chosen)
    except (HydraException, KeyError) as error:
        raise ConfigError(error.args[0] if isinstance(error, KeyError) else str(error).splitlines()[0]) from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
