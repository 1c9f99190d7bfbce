"""Tiles, scales, and the error of a scaled product against float64."""

import pytest
import torch

from deepseek_lab.precision.quantise import TILES, Rounding, quantise, restore, store, tiled
from tests.precision.float64_reference import quantised


def inputs(kind, rows=96, columns=384):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(rows, columns, generator=generator)
    if kind == "outlier channels":
        x[:, ::97] *= 1000
    elif kind == "lognormal":
        x = x.sign() * (3 * torch.randn(rows, columns, generator=generator)).exp()
    elif kind == "zeros":
        x.zero_()
    return x


KINDS = ["normal", "outlier channels", "lognormal", "zeros"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tile", list(TILES))
@pytest.mark.parametrize("power_of_two", [False, True])
def test_every_number_is_within_its_tiles_step(kind, tile, power_of_two):
    """Relative error at most 2^-4 for a number that is normal in its tile's scale, else half a subnormal step."""
    x = inputs(kind)
    result = quantise(x, Rounding(tile, power_of_two=power_of_two))
    wide = (tiled(torch.zeros_like(x), TILES[tile]) + result.scale[:, None, :, None]).flatten(-2).flatten(-3, -2)
    scale = wide[: x.shape[0], : x.shape[1]]
    bound = torch.maximum(x.abs() * 2**-4, scale * 2**-10) * (1 + 1e-6)
    assert ((result.values - x).abs() <= bound).all()
    assert (result.values.abs() <= 448 * scale * (1 + 1e-6)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_scaled_product_against_float64(kind):
    """Error of a sum at most the sum of its addends' bounds: |a|·|b| · (2·2^-4 + 2^-8), and what is subnormal."""
    x, w = inputs(kind), torch.randn(200, 384, generator=torch.Generator().manual_seed(4))
    qx, qw = quantise(x, Rounding("1x128")), quantise(w, Rounding("128x128"))
    ours = (qx.values @ qw.values.t()).double()
    exact = x.double() @ w.double().t()
    subnormal = qx.scale.double().amax(1, keepdim=True) * 2**-10 * w.abs().double().sum(1)
    subnormal += x.abs().double().sum(1, keepdim=True) * qw.scale.double().max() * 2**-10
    bound = x.abs().double() @ w.abs().double().t() * (2 * 2**-4 + 2**-8) + subnormal
    assert ((ours - exact).abs() <= bound * (1 + 1e-4) + 1e-12).all()
    if kind == "zeros":
        assert torch.equal(ours, exact)


@pytest.mark.parametrize("shape", [(1, 1), (3, 130), (129, 257), (128, 128), (2, 130, 40)])
@pytest.mark.parametrize(("tile", "sides"), [("1x128", (1, 128)), ("128x1", (128, 1)), ("128x128", (128, 128))])
def test_edges_are_padded_for_the_scale_only(shape, tile, sides):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(6))
    ours = quantise(x, Rounding(tile)).values.double()
    for ours_matrix, matrix in zip(ours.view(-1, *shape[-2:]), x.view(-1, *shape[-2:]), strict=True):
        expected = quantised(matrix.double().numpy(), *sides)
        assert torch.equal(ours_matrix, torch.from_numpy(expected).float().double())


@pytest.mark.parametrize("tile", list(TILES))
def test_stored_and_restored_is_quantised(tile):
    x = inputs("outlier channels", rows=70, columns=200)
    how = Rounding(tile)
    kept = store(x, how)
    assert kept.values.dtype == torch.float8_e4m3fn
    assert torch.equal(restore(kept)[:70, :200], quantise(x, how).values)


def test_large_matrices_are_rounded_piece_by_piece_alike(monkeypatch):
    from deepseek_lab.precision import quantise as module

    x = inputs("lognormal")
    whole = [quantise(x, Rounding(tile)) for tile in TILES]
    monkeypatch.setattr(module, "_AT_ONCE", 1000)
    for one, tile in zip(whole, TILES, strict=True):
        pieces = quantise(x, Rounding(tile))
        assert torch.equal(pieces.values, one.values)
        assert torch.equal(pieces.scale, one.scale)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_shows_in_amax(bad):
    x = inputs("normal")
    x[5, 200] = bad
    result = quantise(x, Rounding("1x128"))
    assert (~result.amax.isfinite()).nonzero().tolist() == [[5, 1]]
    assert result.values[5, 128:256].isnan().any()


def test_flushed_share_separates_tiles_from_a_tensors_scale():
    """Where a Frobenius norm does not: gradient-like numbers, as in the benchmark notes."""
    x = inputs("lognormal")
    share = {t: float((quantise(x, Rounding(t)).values == 0).float().mean()) for t in ("1x128", "tensor")}
    assert share["tensor"] > 10 * share["1x128"]
