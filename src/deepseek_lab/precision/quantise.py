"""Scaled quantisation: a tile of numbers shares one scale, chosen online from its largest magnitude.

q = round(x / s), s = max|x| / 448 over the tile (DeepSeek-V3 §3.3.2: activations in tiles of 1×128, weights in
blocks of 128×128, no delayed scaling). A scale may be rounded up to a power of two, which makes scaling itself
exact. The edge of a matrix that a tile does not divide is padded with zeros.

* `quantise`  q·s in fp32, so that a plain product of two such matrices is the scaled product, up to the order of
              its sums: the emulation
* `store`     the narrow numbers themselves and their scales, padded to whole tiles: what hardware multiplies

Shapes: R rows, C columns, any leading dimensions; tiles of r×c, so R/r × C/c scales (rounded up).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deepseek_lab.precision.formats import E4M3, FloatFormat, power_of_two_above, round_within_range

TINIEST = 1e-30
"""Largest magnitude that a tile of zeros is taken to have, so that its scale is a normal number."""

_AT_ONCE = 1 << 20
"""Numbers rounded at once: few enough to stay in the caches between two passes, enough to be worth sharing out."""


@dataclass(frozen=True)
class Tile:
    """Rows and columns that share a scale; None takes all of them."""

    rows: int | None
    columns: int | None

    def sides(self, n_rows: int, n_columns: int) -> tuple[int, int]:
        """Rows and columns of a tile of a matrix of this size."""
        return self.rows or max(n_rows, 1), self.columns or max(n_columns, 1)


TILES = {
    "1x128": Tile(1, 128),
    "128x1": Tile(128, 1),
    "128x128": Tile(128, 128),
    "row": Tile(1, None),
    "column": Tile(None, 1),
    "tensor": Tile(None, None),
}
TURNED = {"1x128": "128x1", "128x1": "1x128", "row": "column", "column": "row"}
"""The tile of the transposed matrix; 128x128 and tensor are their own."""


@dataclass(frozen=True)
class Rounding:
    """How a matrix is quantised; `tile` is a name in TILES.

    smallest_amax: a tile's largest magnitude counts as at least this.
    """

    tile: str
    form: FloatFormat = E4M3
    power_of_two: bool = False
    smallest_amax: float = TINIEST

    def turned(self) -> "Rounding":
        """The same for the transposed matrix."""
        return replace(self, tile=TURNED.get(self.tile, self.tile))


@dataclass(frozen=True)
class Quantised:
    """values (…, R, C); scale and amax (…, R/r, C/c) fp32, None where there are no scales (bf16).

    From `quantise`, values are q·s in fp32; from `store`, q in its narrow dtype with R and C padded to whole tiles,
    and `tile` says which they are.
    """

    values: Tensor
    scale: Tensor | None
    amax: Tensor | None
    tile: str | None = None

    def t(self) -> "Quantised":
        """The transposed matrix, as views."""
        scale, amax = (None if x is None else x.transpose(-2, -1) for x in (self.scale, self.amax))
        tile = self.tile and TURNED.get(self.tile, self.tile)
        return Quantised(self.values.transpose(-2, -1), scale, amax, tile)


def tiled(x: Tensor, tile: Tile) -> Tensor:
    """(…, R, C) -> (…, R/r, r, C/c, c), a view where the tile divides the matrix, else padded with zeros."""
    n_rows, n_columns = x.shape[-2:]
    rows, columns = tile.sides(n_rows, n_columns)
    missing = (-n_columns % columns, -n_rows % rows)
    if any(missing):
        wide = x.new_zeros(*x.shape[:-2], n_rows + missing[1], n_columns + missing[0])
        wide[..., :n_rows, :n_columns] = x
        x = wide
    return x.reshape(*x.shape[:-2], x.shape[-2] // rows, rows, x.shape[-1] // columns, columns)


def amax_of(tiles: Tensor) -> Tensor:
    """(…, R/r, r, C/c, c) -> (…, R/r, C/c): the largest magnitude of each; NaN where a tile has one."""
    # Of both ends: magnitudes of their own would have to be written and read again.
    return torch.maximum(tiles.amax((-3, -1)), tiles.amin((-3, -1)).neg_())


def scale_of(amax: Tensor, how: Rounding) -> Tensor:
    """The scale that maps a tile's largest magnitude to the largest number of the format, or just below."""
    scale = amax.clamp(min=how.smallest_amax).div_(how.form.max)
    return power_of_two_above(scale) if how.power_of_two else scale


def quantise(x: Tensor, how: Rounding) -> Quantised:
    """(…, R, C) of any floating dtype -> the same numbers on the format's grid, in fp32.

    A NaN or infinity spoils its tile and stands in `amax`; `observation` says which layer it was.
    """
    tiles = tiled(x.float(), TILES[how.tile])
    rounded = torch.empty_like(tiles)
    if tiles.numel() <= _AT_ONCE or tiles.device.type != "cpu":
        scale, amax = _round_tiles(tiles, how, rounded, torch.empty_like(tiles))
    else:
        scale, amax = _round_in_pieces(tiles, how, rounded)
    values = _flat(rounded)
    return Quantised(values if values.shape == x.shape else values[..., : x.shape[-2], : x.shape[-1]], scale, amax)


def _round_in_pieces(tiles: Tensor, how: Rounding, into: Tensor) -> tuple[Tensor, Tensor]:
    """`_round_tiles` by as many rows of tiles as a CPU's caches hold."""
    flat = tiles.flatten(0, -4)
    at_once = max(1, _AT_ONCE // flat[0].numel())
    work = torch.empty_like(flat[:at_once])
    done = [
        _round_tiles(some, how, rounded, work[: len(some)])
        for some, rounded in zip(flat.split(at_once), into.flatten(0, -4).split(at_once), strict=True)
    ]
    scale, amax = (torch.cat(parts).view(*tiles.shape[:-3], tiles.shape[-2]) for parts in zip(*done, strict=True))
    return scale, amax


def _round_tiles(tiles: Tensor, how: Rounding, into: Tensor, work: Tensor) -> tuple[Tensor, Tensor]:
    """Rounds (…, r, C/c, c) tiles `into` a tensor of their shape, with another to work in; their scale and amax."""
    amax = amax_of(tiles)
    scale = scale_of(amax, how)
    wide = scale.unsqueeze(-1).unsqueeze(-3)
    if how.power_of_two:
        round_within_range(tiles, how.form, wide, into, work)
    else:
        round_within_range(torch.div(tiles, wide, out=into), how.form, None, into, work).mul_(wide)
    return scale, amax


def store(x: Tensor, how: Rounding) -> Quantised:
    """(…, R, C) -> narrow numbers and scales. The format must have a dtype."""
    assert how.form.dtype is not None, f"{how.form.name} has no dtype"
    tiles = tiled(x.float(), TILES[how.tile])
    amax = amax_of(tiles)
    scale = scale_of(amax, how)
    narrow = (tiles / scale[..., :, None, :, None]).clamp_(-how.form.max, how.form.max).to(how.form.dtype)
    return Quantised(_flat(narrow), scale, amax, how.tile)


def restore(stored: Quantised) -> Tensor:
    """What `store` kept, (…, R, C) padded, as q·s in fp32."""
    assert stored.scale is not None, "nothing is stored without scales"
    assert stored.tile is not None, "nothing is stored without tiles"
    return _flat(tiled(stored.values.float(), TILES[stored.tile]) * stored.scale[..., :, None, :, None])


def _flat(tiles: Tensor) -> Tensor:
    """Back from tiles to (…, R, C)."""
    return tiles.flatten(-2).flatten(-3, -2)


def to_bfloat16(x: Tensor) -> Quantised:
    """Rounded to bf16, in fp32: what an emulated bf16 product multiplies."""
    return Quantised(x.bfloat16().float(), None, None)
