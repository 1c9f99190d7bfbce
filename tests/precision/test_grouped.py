"""The experts' grouped product against each expert as a linear of its own, in float64."""

import numpy as np
import pytest
import torch

from deepseek_lab.precision.applying import apply
from deepseek_lab.precision.grouped import Moves
from deepseek_lab.seams import GroupedMatmul
from precision_recipes import bf16, fp8
from tests.precision.float64_reference import linear_gradients, quantised

SIZES = (3, 0, 150, 128, 1)
ENDS = torch.tensor(np.cumsum(SIZES), dtype=torch.int32)
ROWS = sum(SIZES)


def product(recipe, name="matmul"):
    model = torch.nn.ModuleDict({name: GroupedMatmul()})
    apply(model, recipe)
    return model[name]


def numbers(n_inputs=72, n_outputs=40):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(ROWS, n_inputs, generator=generator)
    weight = torch.randn(len(SIZES), n_outputs, n_inputs, generator=generator)
    spread = (2 * torch.randn(ROWS, 1, generator=generator)).exp()
    return x, weight, 1e-3 * spread * torch.randn(ROWS, n_outputs, generator=generator)


def run(matmul, x, weight, dy):
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    y = matmul(x, weight, ENDS)
    y.backward(dy)
    return [t.detach().double().numpy() for t in (y, x.grad, weight.grad)]


def by_expert(x, weight, dy, gradients):
    """The reference of each expert on its own rows, joined."""
    x, weight, dy = (t.double().numpy() for t in (x, weight, dy))
    ys, dxs, dws, start = [], [], [], 0
    for expert, size in enumerate(SIZES):
        rows = slice(start, start + size)
        start += size
        if size == 0:
            dws.append(np.zeros_like(weight[expert]))
            continue
        y, dx, dw = gradients(x[rows], weight[expert], dy[rows])
        ys.append(y), dxs.append(dx), dws.append(dw)
    return np.concatenate(ys), np.concatenate(dxs), np.stack(dws)


def block_gradients(x, w, dy):
    xq, wq = quantised(x, 1, 128, smallest=1e-4), quantised(w, 128, 128, smallest=1e-4)
    dyq = quantised(dy, 128, 128)
    return xq @ wq.T, dyq @ wq, dyq.T @ quantised(xq, 128, 1, smallest=1e-4)


def in_bf16(x, w, dy):
    x, w, dy = (torch.tensor(t).bfloat16().double().numpy() for t in (x, w, dy))
    return x @ w.T, dy @ w, dy.T @ x


@pytest.mark.parametrize(
    ("recipe", "reference"),
    [(fp8(), linear_gradients), (fp8("fp8_block_gradients"), block_gradients), (bf16(), in_bf16)],
    ids=["fp8", "block_gradients", "bf16"],
)
def test_tiles_never_mix_two_experts(recipe, reference):
    x, weight, dy = numbers()
    ours, expected = run(product(recipe), x, weight, dy), by_expert(x, weight, dy, reference)
    for a, b in zip(ours, expected, strict=True):
        assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


def test_odd_widths():
    """Rows that are no whole 16 bytes: torch's grouped kernel refuses them."""
    x, weight, dy = numbers(n_inputs=9, n_outputs=7)
    ours, expected = run(product(fp8()), x, weight, dy), by_expert(x, weight, dy, linear_gradients)
    for a, b in zip(ours, expected, strict=True):
        assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


def test_v3_takes_powers_of_two_around_the_experts():
    """Dispatch's input and the gradient at the down projection: their scales, and no others, are powers of two."""
    x, weight, dy = numbers()
    for name, kinds in (("gate_up_matmul", {"activation"}), ("down_matmul", {"gradient"})):
        model = torch.nn.ModuleDict(
            {"b": torch.nn.ModuleDict({"experts": torch.nn.ModuleDict({name: GroupedMatmul()})})}
        )
        apply(model, fp8())
        matmul, seen = model["b"]["experts"][name], {}
        matmul.layer.operands.watch = lambda kind, x, result, seen=seen: seen.setdefault(kind, []).append(result.scale)
        run(matmul, x, weight, dy)
        for kind, scales in seen.items():
            exact = all(bool((torch.frexp(scale)[0] == 0.5).all()) for scale in scales)
            assert exact == (kind in kinds)


def test_moves_and_back():
    moves = Moves(ENDS, ROWS)
    x = torch.randn(ROWS, 3)
    moved = moves(x)
    assert torch.equal(moved[moves.place_M], x)
    assert moves.ends_E.tolist() == [128, 128, 384, 512, 640]
    assert moved.shape[0] >= 640
    assert int((moved != 0).any(1).sum()) == ROWS
    starts = [0, *moves.ends_E[:-1].tolist()]
    assert moves.place_M[[0, 3, 153, 281]].tolist() == [starts[i] for i in (0, 2, 3, 4)]
