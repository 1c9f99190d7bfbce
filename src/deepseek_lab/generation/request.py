"""What is asked of an engine and what it answers: requests, sampling rules, tokens, completions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

FINISHED = ("stop", "length", "error", "cancelled")
"""Why a sample ended: a stop token, its length, logits that are no numbers, or its asker's wish."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is chosen; temperature 0 takes the likeliest. Filters apply in the order of their fields.

    repetition_penalty: what was in the prompt or sampled before has its logit divided by it if positive, else
        multiplied (Keskar et al. 2019, §4.1); before the temperature
    top_k: tokens that stay; None keeps all
    top_p: of the sorted tokens those stay before which less than this mass lies (Holtzman et al. 2020)
    min_p: tokens stay that have at least this share of the likeliest's probability
    """

    temperature: float = 1.0
    repetition_penalty: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0

    def check(self) -> None:
        """Raises ValueError, in one line that names the field."""
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise ValueError(f"temperature must be a number of at least 0, not {self.temperature}")
        if not (self.repetition_penalty > 0 and math.isfinite(self.repetition_penalty)):
            raise ValueError(f"repetition_penalty must be a number above 0, not {self.repetition_penalty}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p must be from 0 to 1, not {self.min_p}")

    @property
    def filters(self) -> bool:
        """Whether some tokens may be ruled out."""
        return self.top_k is not None or self.top_p < 1 or self.min_p > 0


GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A prompt, continued `n` times; sample k of it draws its noise from (seed, k, position) alone.

    stop_ids: tokens that end a sample; the token itself is its last
    top_logprobs: None records no `TokenLogprobs`; else how many of the likeliest tokens each of them names
    prompt_logprobs: whether the prompt's own tokens are told of, too
    """

    prompt: Sequence[int]
    max_new_tokens: int
    sampling: Sampling = GREEDY
    stop_ids: frozenset[int] = frozenset()
    seed: int = 0
    n: int = 1
    top_logprobs: int | None = None
    prompt_logprobs: bool = False

    @property
    def cache_tokens(self) -> int:
        """Room that a sample needs at most: its last token is never fed."""
        return len(self.prompt) + self.max_new_tokens - 1


@dataclass(frozen=True, kw_only=True)
class TokenLogprobs:
    """The model's own log-probabilities where a token was chosen: at temperature 1, before penalties and filters.

    top: ids and log-probabilities of the likeliest tokens, the likeliest first
    """

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Token:
    """One more token of a sample, or its end by an error (id −1).

    index: 0 for the first new token. logprob: under the temperature used (1 for greedy), before penalty and filters.
    own: see TokenLogprobs, where the request asks for them
    prompt_own: with a sample's first token, of all tokens of the prompt but the first, where the request asks for them
    routing: with a sample's last token, where an engine records it; see Completion
    """

    handle: int
    sample: int
    index: int
    id: int
    logprob: float
    finish_reason: str | None = None
    error: str | None = None
    own: TokenLogprobs | None = None
    prompt_own: tuple[TokenLogprobs, ...] = ()
    routing: Tensor | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A finished sample: its new tokens, the stop token included, their log-probabilities, and why it ended.

    routing: (T, L, K) int16, where an engine records it: the experts of T read tokens (the prompt and all new ones but
        the last), L mixture layers, K a token
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str
    error: str | None = None
    routing: Tensor | None = field(default=None, compare=False)
