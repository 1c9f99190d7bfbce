"""Prefill and decode as plain functions over a model and its cache.

A prompt is read once (`prefill`), then every step feeds one token a row (`decode_one`); MLA decodes in its absorbed
form. Rows may differ in length.

Left out: what a token is chosen by (`distribution`), and rows that come and go (`engine`).

Shapes: B rows, T prompt tokens, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from deepseek_lab.model.cache import Cache
from deepseek_lab.model.linear import decoding
from deepseek_lab.model.transformer import Transformer

Choose = Callable[[Tensor], Tensor]
"""(B, V) logits -> (B,) tokens."""


class DecodeOne(Protocol):
    """`decode_one`, or another form of it."""

    def __call__(
        self, model: Transformer, token_B: Tensor, cache: Cache, noted: list[Tensor] | None = None
    ) -> Tensor: ...


def left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ragged prompts -> ids (B, T), padded on the left with 0, and the mask of real tokens.

    Raises ValueError for an empty prompt.
    """
    if not prompts or any(len(prompt) == 0 for prompt in prompts):
        raise ValueError("a prompt holds no token")
    width = max(len(prompt) for prompt in prompts)
    rows = [[0] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    marks = [[False] * (width - len(prompt)) + [True] * len(prompt) for prompt in prompts]
    return torch.tensor(rows, device=device), torch.tensor(marks, device=device)


def prefill(model: Transformer, input_ids_BT: Tensor, cache: Cache, valid_BT: Tensor | None = None) -> Tensor:
    """Reads the prompts into the cache -> logits (B, V) of each row's last token.

    Padding, if any, stands on the left, so that every row's last token is in the last column.
    """
    with decoding():
        hidden_BTD = model(input_ids_BT, valid_BT=valid_BT, cache=cache).hidden_BTD
        return model.head(hidden_BTD[:, -1])  # type: ignore[no-any-return]


def decode_one(model: Transformer, token_B: Tensor, cache: Cache, noted: list[Tensor] | None = None) -> Tensor:
    """Feeds one token a row -> logits (B, V) of the next.

    noted: takes the experts of each mixture layer, (B, K)
    """
    with decoding():
        output = model(token_B[:, None], cache=cache)
        if noted is not None:
            noted += [statistics.chosen_BTK[:, 0] for statistics in output.routing]
        return output.logits[:, -1]  # type: ignore[no-any-return]


@torch.no_grad()
def decode_many(
    model: Transformer,
    logits_BV: Tensor,
    cache: Cache,
    n_tokens: int,
    choose: Choose,
    decode_one: DecodeOne = decode_one,
) -> Tensor:
    """Chooses a token of each row's logits and feeds it, again and again -> (B, n_tokens); the last is not fed."""
    tokens = [choose(logits_BV)]
    while len(tokens) < n_tokens:
        tokens.append(choose(decode_one(model, tokens[-1], cache)))
    return torch.stack(tokens, dim=1)
