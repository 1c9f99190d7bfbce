"""Learning-rate schedules: what the peak rate is multiplied by in each step.

Every schedule is a pure function of the step and the length of the run, so that a resumed run needs no
state. Steps count from 0 (the one about to be taken) and a step is placed by its end: n = step + 1 of
max_steps, so the first step already learns and the last one gets exactly the final value.

A warm-up longer than the run is clipped to the run, so a smoke run of three steps works.

Left out: schedules over tokens. With a constant batch size steps and tokens are the same axis.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from deepseek_lab.config import CheckedConfig, ConfigError


class Constant:
    """The peak rate after a linear warm-up."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        """warmup_steps: steps until the peak is reached."""

        warmup_steps: int

        def check(self) -> None:
            self.require_not_negative("warmup_steps")

        def factor(self, step: int, max_steps: int) -> float:
            """min(1, n / warmup)."""
            return _warmup(self.warmup_steps, step, max_steps)


class Cosine:
    """A linear warm-up, then half a cosine down to `final_fraction` at the last step."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        """warmup_steps: steps until the peak. final_fraction: the last step's share of the peak."""

        warmup_steps: int
        final_fraction: float

        def check(self) -> None:
            self.require_not_negative("warmup_steps")
            _require_fractions(self, "final_fraction")

        def factor(self, step: int, max_steps: int) -> float:
            """n / warmup, then the cosine over the steps that are left."""
            warmup = min(self.warmup_steps, max_steps)
            if step < warmup:
                return (step + 1) / warmup
            return _cosine((step + 1 - warmup) / max(1, max_steps - warmup), self.final_fraction)


class MultiStep:
    """DeepSeek LLM (§2.3): a linear warm-up, the peak, then steps down at fractions of the run."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        """milestones: where each step down comes, in order. fractions: what is left of the peak behind each."""

        warmup_steps: int
        milestones: list[float]
        fractions: list[float]

        def check(self) -> None:
            self.require_not_negative("warmup_steps")
            if len(self.milestones) != len(self.fractions):
                problem = f"must have a value for each of the {len(self.milestones)} milestones"
                raise ConfigError(f"{problem}, not {len(self.fractions)}", "fractions")
            for name in ("milestones", "fractions"):
                for value in getattr(self, name):
                    _require_fraction(value, name)
            if self.milestones != sorted(self.milestones):
                raise ConfigError(f"must not go back: {self.milestones}", "milestones")

        def factor(self, step: int, max_steps: int) -> float:
            """n / warmup up to the peak, times the fraction of the last milestone that lies before the step."""
            passed = [f for m, f in zip(self.milestones, self.fractions, strict=True) if step >= round(m * max_steps)]
            return _warmup(self.warmup_steps, step, max_steps) * (passed[-1] if passed else 1.0)


class WarmupStableDecay:
    """WSD (Hu et al. 2024): a linear warm-up, the peak, and a line down to `final_fraction` at the last step.

    The stable part needs no length known beforehand: a checkpoint of it can be decayed at any time.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        """stable_until: fraction of the run where the decay begins. final_fraction: what the last step keeps."""

        warmup_steps: int
        stable_until: float
        final_fraction: float

        def check(self) -> None:
            self.require_not_negative("warmup_steps")
            _require_fractions(self, "stable_until", "final_fraction")

        def factor(self, step: int, max_steps: int) -> float:
            """min(n / warmup, 1 - (1 - final) · share of the decay that is done)."""
            start = round(self.stable_until * max_steps)
            done = min(1.0, max(0.0, (step + 1 - start) / max(1, max_steps - start)))
            return min(_warmup(self.warmup_steps, step, max_steps), 1.0 - (1.0 - self.final_fraction) * done)


class DeepSeekV3:
    """DeepSeek-V3 (§4.2): warm-up, the peak to 10T of 14.8T tokens, a cosine over 4.3T, two constant ends."""

    @dataclass(frozen=True, kw_only=True)
    class Config(CheckedConfig):
        """Fractions of the run where each phase ends, and of the peak rate that the ends keep.

        warmup_until, peak_until, cosine_until: ends of the first three phases. low_until: end of the
        phase at `low_fraction`, which the cosine falls to; the rest runs at `final_fraction`.
        """

        warmup_until: float
        peak_until: float
        cosine_until: float
        low_until: float
        low_fraction: float
        final_fraction: float

        def check(self) -> None:
            ends = ("warmup_until", "peak_until", "cosine_until", "low_until")
            _require_fractions(self, *ends, "low_fraction", "final_fraction")
            for earlier, later in pairwise(ends):
                if getattr(self, later) < getattr(self, earlier):
                    raise ConfigError(f"must not come before {earlier}", later)

        def factor(self, step: int, max_steps: int) -> float:
            """The factor of the phase that the end of the step lies in; phases end on whole steps."""
            done = step + 1
            ends = (self.warmup_until, self.peak_until, self.cosine_until, self.low_until)
            warmup, peak, cosine, low = (round(end * max_steps) for end in ends)
            if done < warmup:
                return done / warmup
            if done <= peak:
                return 1.0
            if done <= cosine:
                return _cosine((done - peak) / (cosine - peak), self.low_fraction)
            return self.low_fraction if done <= low else self.final_fraction


def _warmup(warmup_steps: int, step: int, max_steps: int) -> float:
    """min(1, n / warmup), the warm-up clipped to the run."""
    return min(1.0, (step + 1) / max(1, min(warmup_steps, max_steps)))


def _cosine(progress: float, final: float) -> float:
    """Half a cosine from 1 at progress 0 to `final` at 1 and after."""
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def _require_fractions(config: CheckedConfig, *names: str) -> None:
    """Refuses a named field outside 0 to 1."""
    for name in names:
        _require_fraction(getattr(config, name), name)


def _require_fraction(value: float, name: str) -> None:
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"must be a fraction from 0 to 1, not {value}", name)
