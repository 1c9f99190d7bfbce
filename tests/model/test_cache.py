"""Cached equals uncached in every order of feeding, and the cache is as small as it should be."""

import pytest
import torch

from deepseek_lab.model.cache import Cache, write_tokens
from tests.model.tiny import ATTENTIONS, LAYERS, build, tokens

TIME = 17
attentions = pytest.mark.parametrize("attention", ATTENTIONS)
# One decoding step at a time is MLA's absorbed form; several at once, and the uncached run, the expanded one.
FEEDINGS = {
    "prefill_then_decode": (10, 1, 1, 1, 1, 1, 1, 1),
    "decode_from_nothing": (1,) * TIME,
    "chunked_prefill": (5, 7, 1, 4),
    "all_at_once": (TIME,),
}


def same(got, wanted, dtype):
    torch.testing.assert_close(got, wanted, atol=1e-4 if dtype is torch.float32 else 1e-10, rtol=0)


@attentions
@pytest.mark.parametrize("feeding", FEEDINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.no_grad()
def test_cached_equals_uncached(attention, feeding, dtype):
    model = build(attention, "moe", dtype=dtype)
    ids_BT = tokens(3, TIME)
    cache = model.new_cache(3, TIME)
    pieces = [model(piece, cache=cache).logits for piece in ids_BT.split(FEEDINGS[feeding], dim=1)]
    same(torch.cat(pieces, dim=1), model(ids_BT).logits, dtype)
    assert cache.lengths == [TIME] * 3


@attentions
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_ragged_prompts_equal_each_prompt_alone(attention, side):
    model = build(attention, "moe", dtype=torch.float64)
    lengths, new = (3, 8, 5), 4
    rows = [tokens(1, length + new, seed=length)[0] for length in lengths]
    ids_BT, valid_BT = torch.full((3, 8), 7), torch.zeros(3, 8, dtype=torch.bool)
    for row, (length, ids) in enumerate(zip(lengths, rows, strict=True)):
        place = slice(8 - length, 8) if side == "left" else slice(0, length)
        ids_BT[row, place], valid_BT[row, place] = ids[:length], True
    cache = model.new_cache(3, 8 + new)
    prefill = model(ids_BT, valid_BT=valid_BT, cache=cache).logits
    assert cache.lengths == list(lengths)
    decoded = []
    for step in range(new):
        next_B1 = torch.stack([ids[length + step] for length, ids in zip(lengths, rows, strict=True)])[:, None]
        decoded.append(model(next_B1, cache=cache).logits)
    for row, (length, ids) in enumerate(zip(lengths, rows, strict=True)):
        alone = model(ids[None]).logits[0]
        same(prefill[row, valid_BT[row]], alone[:length], torch.float64)
        same(torch.cat(decoded, dim=1)[row], alone[length:], torch.float64)


@attentions
@torch.no_grad()
def test_a_row_that_pauses_goes_on_as_if_it_had_not(attention):
    model = build(attention, "dense", dtype=torch.float64)
    ids_BT = tokens(2, 9)
    cache = model.new_cache(2, 9)
    model(ids_BT[:, :6], cache=cache)
    paused = model(ids_BT[:, 6:7], valid_BT=torch.tensor([[True], [False]]), cache=cache)
    assert paused.logits.isfinite().all()
    assert cache.lengths == [7, 6]
    next_B2 = torch.stack((ids_BT[0, 7:9], ids_BT[1, 6:8]))
    logits = model(next_B2, cache=cache).logits
    whole = model(ids_BT).logits
    same(logits[0], whole[0, 7:9], torch.float64)
    same(logits[1], whole[1, 6:8], torch.float64)


@pytest.mark.parametrize(
    ("attention", "numbers"),
    [("mha", 2 * 4 * 16), ("gqa", 2 * 2 * 16), ("mqa", 2 * 1 * 16), ("mla", 20 + 8)],
)
def test_cache_bytes_are_the_closed_form(attention, numbers):
    batch, capacity = 3, 11
    cache = build(attention, "dense").new_cache(batch, capacity)
    assert cache.n_bytes == numbers * LAYERS * batch * capacity * 4
    half = build(attention, "dense", dtype=torch.bfloat16).new_cache(batch, capacity)
    assert half.n_bytes == cache.n_bytes // 2


def test_a_full_cache_refuses_more():
    model = build("gqa", "dense")
    cache = model.new_cache(1, 4)
    model(tokens(1, 3), cache=cache)
    with pytest.raises(ValueError, match="the cache holds 4 tokens a row, 5 are needed"):
        model(tokens(1, 2), cache=cache)
    assert cache.lengths == [3]


def test_padding_is_never_written():
    cache = Cache([(2,)], batch=2, capacity=4, dtype=torch.float32, device=torch.device("cpu"))
    new = torch.arange(1.0, 13.0).view(2, 3, 2)
    keep = torch.tensor([[False, True, True], [True, False, False]])
    slots = torch.tensor([[0, 0, 1], [0, 0, 0]])
    write_tokens(cache.layers[0], new, slots, keep, start=0)
    assert cache.layers[0][..., 0].tolist() == [[3, 5, 0, 0], [7, 0, 0, 0]]
