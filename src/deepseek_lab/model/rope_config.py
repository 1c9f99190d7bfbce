"""The knobs of rotary positions, apart from the rotation: the shape sheet holds them, and is checked before torch.

What they mean is told in `rope`. Left out: tensors; here are only the two numbers that YaRN's temperature gives.
"""

import math
from dataclasses import dataclass
from typing import Literal

from deepseek_lab.config import CheckedConfig, ConfigError

Layout = Literal["interleaved", "half_split"]
"""Which channels of a head are turned together; see `rope`."""


@dataclass(frozen=True, kw_only=True)
class RopeConfig(CheckedConfig):
    """What turns a position into angles; the names are those of the published configs.

    `mscale` and `mscale_all_dim` are read under `yarn` only. With `mscale_all_dim` the softmax
    carries the temperature (and cos/sin the ratio of the two); without it cos/sin carry all of it, or
    `attention_factor` where it is given. `truncate` rounds the ends of yarn's ramp to whole channels.
    """

    type: Literal["default", "linear", "llama3", "yarn"] = "default"
    theta: float = 10000.0
    factor: float = 1.0
    original_max_seq_len: int = 4096
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float | None = None
    mscale_all_dim: float | None = None
    attention_factor: float | None = None
    truncate: bool = True
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0

    def check(self) -> None:
        if self.theta <= 1:
            raise ConfigError(f"must be above 1, not {self.theta}", "theta")
        if self.factor < 1:
            raise ConfigError(f"must be at least 1, not {self.factor}", "factor")
        self.require_positive("original_max_seq_len")

    @property
    def softmax_factor(self) -> float:
        """What the softmax scale is multiplied by: mscale_all_dim's temperature, squared."""
        if self.type != "yarn" or not self.mscale_all_dim:
            return 1.0
        return _temperature(self.factor, self.mscale_all_dim) ** 2

    @property
    def rotation_factor(self) -> float:
        """What cos and sin are multiplied by."""
        if self.type != "yarn":
            return 1.0
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return _temperature(self.factor, self.mscale) / _temperature(self.factor, self.mscale_all_dim)
        return _temperature(self.factor, 1.0)


def _temperature(factor: float, mscale: float) -> float:
    return 0.1 * mscale * math.log(factor) + 1.0


PLAIN = RopeConfig()
"""Positions as they are: the defaults, for a layer that is built alone."""
