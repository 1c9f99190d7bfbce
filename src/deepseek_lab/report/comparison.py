"""Which variants a set of runs compares, and which differences are larger than chance makes them.

Runs are told apart by what differs between their choices and typed values; the seed does not count, so
the seeds of one variant stand together and a variant's figure is their mean. How far two seeds of the
baseline lie apart says what the seed alone does to the result: spread = max − min over the baseline's
seeds. A difference to the baseline that is not larger may be chance: a rule of thumb, for variants that
share too few seeds with the baseline for an interval (`findings.py`).

Pure: nothing is read or written here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean

from deepseek_lab.config import ConfigError, nearest
from deepseek_lab.report.runs import Run

Settings = tuple[tuple[str, str], ...]

NOT_A_SETTING = frozenset(
    {"seed", "sweep", "resume", "paths", "ablation", "match", "hydra", "hardware", "profile", "debug"}
)
"""Top-level keys that do not tell one variant from another."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The runs of one variant, one a seed; `settings` is what tells it from the others."""

    settings: Settings
    runs: tuple[Run, ...]

    @property
    def label(self) -> str:
        """`mla` when one thing differs between the variants, else `attention=mla ffn=moe`.

        A variant without rivals is named by what was typed for it.
        """
        if len(self.settings) == 1:
            return self.settings[0][1]
        return self.written or " ".join(f"{k}={v}" for k, v in typed_settings(self.runs[0]).items()) or "default"

    @property
    def written(self) -> str:
        """What tells it apart, as a person types it: `attention=mla ffn=moe`."""
        return " ".join(f"{key}={value}" for key, value in self.settings)

    def values(self, metric: str) -> dict[int, float]:
        """The last value of a curve by seed, of the runs that have one."""
        return {run.seed: run.metrics[metric] for run in self.runs if metric in run.metrics}

    @property
    def loss(self) -> float | None:
        """Validation loss in nats per token, mean over the seeds that have one."""
        return _mean([run.loss for run in self.runs])

    @property
    def bits_per_byte(self) -> float | None:
        """Validation bits per byte, mean over the seeds that have some."""
        return _mean([run.bits_per_byte for run in self.runs])

    @property
    def spread(self) -> float | None:
        """Largest minus smallest bits per byte over the seeds; None with one seed."""
        values = [run.bits_per_byte for run in self.runs if run.bits_per_byte is not None]
        return max(values) - min(values) if len(values) > 1 else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Variants in the order of their sweep, one of them the baseline, and what a reader must know."""

    variants: tuple[Variant, ...]
    baseline: Variant
    warnings: tuple[str, ...]
    untimed: frozenset[Path] = frozenset()
    """Runs whose speed is not compared: beside them others kept more or fewer cores busy than beside the rest."""
    speeds_differ_by_load: bool = False
    """Whether no two variants ran beside equally busy programs, so that no speed can be compared."""

    @property
    def axis(self) -> str:
        """The name of what differs (`attention`), or `variant` when that is nothing or several things."""
        settings = self.baseline.settings
        return settings[0][0] if len(settings) == 1 else "variant"

    def difference(self, variant: Variant) -> float | None:
        """Bits per byte of a variant minus those of the baseline; negative is better. None where either has none."""
        ours, theirs = variant.bits_per_byte, self.baseline.bits_per_byte
        return None if ours is None or theirs is None else ours - theirs

    def exceeds_spread(self, variant: Variant) -> bool | None:
        """Whether the difference is larger than the spread of the baseline's seeds; None when that is unknown."""
        difference = self.difference(variant)
        if variant is self.baseline or self.baseline.spread is None or difference is None:
            return None
        return abs(difference) > self.baseline.spread

    def timed(self, run: Run, value: float | None) -> float | None:
        """A run's time or speed, where it may be compared with those of others."""
        return None if run.folder in self.untimed else value

    @property
    def verdict(self) -> str:
        """One honest sentence on what the spread can and cannot say."""
        name, seeds, spread = self.baseline.label, len(self.baseline.runs), self.baseline.spread
        if len(self.variants) == 1:
            return f"All runs are the same variant ({name}); there is nothing to compare it with."
        if self.baseline.bits_per_byte is None:
            return f"No bits per byte were measured of {name}: nothing was held out, or it learns from pairs."
        if spread is None:
            return (
                f"{name} was run with one seed, so nothing says which differences are chance; "
                "run it with a second seed to see."
            )
        return (
            f"The {seeds} seeds of {name} lie {spread:.3f} bits per byte apart. A larger difference is marked "
            "'beyond', any other 'within': it may be chance. A rule of thumb from so few seeds, not a statistical test."
        )


def typed_settings(run: Run) -> dict[str, str]:
    """The values typed for a run that say what it is."""
    pairs = (line.lstrip("+~").partition("=") for line in run.overrides)
    return {key: value for key, _, value in pairs if key.split(".")[0] not in NOT_A_SETTING}


def run_settings(run: Run) -> dict[str, str]:
    """Everything that could tell a run from others: its choices, and the values typed for it."""
    chosen = {key: str(value) for key, value in run.choices.items() if value is not None and key not in NOT_A_SETTING}
    return typed_settings(run) | chosen


def differing_keys(runs: Sequence[Run]) -> list[str]:
    """The keys that tell the variants apart: as few as do, typed choices before typed values before the rest.

    A key that only follows another is left out: `ffn=moe` brings `balance=auxiliary_free`, and matching gives each
    `attention` its own `model.intermediate_size`.
    """
    settings = [run_settings(run) for run in runs]
    keys = list(dict.fromkeys(key for each in settings for key in each))
    differing = [key for key in keys if len({each.get(key) for each in settings}) > 1]
    typed = {key for run in runs for key in typed_settings(run)}
    kept: list[str] = []
    for key in sorted(differing, key=lambda key: (key not in typed, "." in key)):
        if _n_groups(settings, [*kept, key]) > _n_groups(settings, kept):
            kept.append(key)
    return kept


def _n_groups(settings: Sequence[dict[str, str]], keys: Sequence[str]) -> int:
    return len({tuple(each.get(key) for key in keys) for each in settings})


def compare(runs: Sequence[Run], baseline: str | None = None) -> Comparison:
    """Groups runs into variants and chooses the baseline.

    runs: at least one, in the order of their sweep
    baseline: a variant's label, or its `attention=mha`; None takes the first variant
    Raises ConfigError when no variant has that name.
    """
    keys = differing_keys(runs)
    groups: dict[Settings, list[Run]] = {}
    for run in runs:
        settings = run_settings(run)
        groups.setdefault(tuple((key, settings.get(key, "default")) for key in keys), []).append(run)
    variants = tuple(Variant(settings=key, runs=_one_a_seed(group)) for key, group in groups.items())
    chosen = variants[0] if baseline is None else _named(variants, baseline)
    untimed, differ, lines = _compared_speeds(variants)
    return Comparison(
        variants=variants,
        baseline=chosen,
        warnings=(*_warnings(runs, variants), *lines),
        untimed=untimed,
        speeds_differ_by_load=differ,
    )


def _compared_speeds(variants: Sequence[Variant]) -> tuple[frozenset[Path], bool, list[str]]:
    """The runs whose speed is left out, whether none can be compared, and the lines that say so.

    Like is compared with like: of the loads (cores that others kept busy, rounded) under which every variant ran, the
    one with most runs counts.
    """
    loads = [{run.folder: _load(run) for run in variant.runs if run.seconds is not None} for variant in variants]
    every = [load for each in loads for load in each.values()]
    if len(set(every)) < 2:
        return frozenset(), False, []
    shared = set.intersection(*(set(each.values()) for each in loads if each))
    if not shared:
        line = (
            "The variants did not run beside equally busy programs: do not compare their seconds or tokens per second."
        )
        return frozenset(), True, [line]
    kept = max(sorted(shared, key=str), key=every.count)
    left = frozenset(folder for each in loads for folder, load in each.items() if load != kept)
    beside = "an unknown number of" if kept is None else f"about {kept}"
    line = f"Times and speeds are of runs beside which others kept {beside} cores busy ({len(left)} left out)."
    return left, False, [line]


def _load(run: Run) -> int | None:
    return None if run.other_cores is None else int(run.other_cores + 0.5)


def _one_a_seed(runs: Sequence[Run]) -> tuple[Run, ...]:
    """The last run of each seed: a repeated run is no second sample of chance."""
    by_seed = sorted(runs, key=lambda run: run.seed)
    return tuple(list(group)[-1] for _, group in groupby(by_seed, key=lambda run: run.seed))


def _named(variants: Sequence[Variant], name: str) -> Variant:
    """The variant of this label, or the first that holds all settings of `attention=mha ffn=dense`."""
    labels = {variant.label: variant for variant in variants}
    asked = set(name.split())
    fitting = (v for v in variants if asked <= {f"{k}={each}" for k, each in run_settings(v.runs[0]).items()})
    found = labels.get(name) or next(fitting, None)
    if found is None:
        problem = f"names no variant: {name}{nearest(name, labels)} (variants: {', '.join(labels)})"
        raise ConfigError(problem, "baseline")
    return found


def _warnings(runs: Sequence[Run], variants: Sequence[Variant]) -> list[str]:
    """What makes the comparison less than fair."""
    warnings = []
    if len({run.text_hash for run in runs}) > 1:
        warnings.append("The runs were trained on different text: their losses cannot be compared.")
    elif len({run.tokens_hash for run in runs}) > 1:
        warnings.append("The runs cut the text into different tokens: compare bits per byte, not val loss.")
    least, most = min(run.tokens for run in runs), max(run.tokens for run in runs)
    if most > 1.01 * least:
        warnings.append(f"The runs saw different numbers of training tokens ({least:,} to {most:,}).")
    dropped = len(runs) - sum(len(variant.runs) for variant in variants)
    if dropped:
        warnings.append(f"{dropped} run(s) repeat a variant and seed; the last of each is counted.")
    return warnings
