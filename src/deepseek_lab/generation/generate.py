"""Prefill and decode as plain functions over a model and its cache.

A prompt is read once (`prefill`), then every step feeds one token a row (`decode_one`); MLA decodes in
its absorbed form. Rows may differ in length: lists of ids of any lengths, or a left-padded tensor with
its mask.

Left out: continuous batching, shared prefixes, speculation and streaming (the generation engine).

Shapes: B rows, T prompt tokens, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from deepseek_lab.generation.sampling import next_token
from deepseek_lab.model.cache import Cache
from deepseek_lab.model.transformer import Transformer


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
    hidden_BTD = model(input_ids_BT, valid_BT=valid_BT, cache=cache).hidden_BTD
    return model.head(hidden_BTD[:, -1])  # type: ignore[no-any-return]


def decode_one(model: Transformer, token_B: Tensor, cache: Cache) -> Tensor:
    """Feeds one token a row -> logits (B, V) of the next."""
    return model(token_B[:, None], cache=cache).logits[:, -1]  # type: ignore[no-any-return]


@torch.no_grad()
def decode_many(
    model: Transformer,
    logits_BV: Tensor,
    cache: Cache,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    eos_id: int | None,
    generator: torch.Generator | None,
) -> Tensor:
    """Samples until every row has ended or `max_new_tokens` are reached -> (B, ≤ max_new_tokens).

    A row that has ended repeats `eos_id` until the others have.
    """
    tokens: list[Tensor] = []
    ended_B = torch.zeros(logits_BV.shape[0], dtype=torch.bool, device=logits_BV.device)
    for step in range(max_new_tokens):
        token_B = next_token(logits_BV, temperature, top_k, generator)
        if eos_id is not None:
            token_B = token_B.masked_fill(ended_B, eos_id)
            ended_B = ended_B | (token_B == eos_id)
        tokens.append(token_B)
        if step + 1 == max_new_tokens or bool(ended_B.all()):
            break
        logits_BV = decode_one(model, token_B, cache)
    return torch.stack(tokens, dim=1)


@torch.no_grad()
def generate(
    model: Transformer,
    input_ids: Tensor | Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    eos_id: int | None = None,
    valid_BT: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Continues prompts -> token ids (B, T + new), prompt included; ragged prompts come back left-padded.

    input_ids: (B, T) tensor, with `valid_BT` (B, T) bool where it is left-padded; or a list of lists.
    Raises ValueError when a prompt is empty, an id is out of range, or the model's `max_seq_len` is
    too short. The model is left in the mode (training or evaluation) it was in.
    """
    device = model.head_weight_VD.device
    if not isinstance(input_ids, Tensor):
        input_ids, valid_BT = left_padded(input_ids, device)
    _require_usable(model, input_ids, max_new_tokens)
    was_training = model.training
    model.eval()
    try:
        cache = model.new_cache(input_ids.shape[0], input_ids.shape[1] + max_new_tokens)
        logits_BV = prefill(model, input_ids, cache, valid_BT)
        new = decode_many(model, logits_BV, cache, max_new_tokens, temperature, top_k, eos_id, generator)
    finally:
        model.train(was_training)
    return torch.cat((input_ids, new), dim=1)


def _require_usable(model: Transformer, input_ids_BT: Tensor, max_new_tokens: int) -> None:
    if input_ids_BT.numel() == 0 or max_new_tokens < 1:
        raise ValueError("a prompt of at least one token and max_new_tokens of at least 1 are needed")
    low, high = int(input_ids_BT.min()), int(input_ids_BT.max())
    if low < 0 or high >= model.config.vocab_size:
        raise ValueError(f"token ids must lie in 0..{model.config.vocab_size - 1}, found {low}..{high}")
    if input_ids_BT.shape[1] + max_new_tokens > model.config.max_seq_len:
        raise ValueError(
            f"{input_ids_BT.shape[1]} prompt tokens and {max_new_tokens} new ones exceed the model's "
            f"max_seq_len of {model.config.max_seq_len}"
        )
