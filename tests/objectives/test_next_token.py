"""The chunked head loss equals torch's own cross entropy, and its logits never stand whole."""

import pytest
import torch
import torch.nn.functional as F
from torch.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from deepseek_lab.objectives.next_token import chunked_cross_entropy

ROWS, VOCAB, WIDTH = 37, 29, 8  # 37 rows in chunks of 8: the last one is ragged


def problem(dtype=torch.float64, ignored=False):
    """Hidden states, head, targets and weights; with `ignored`, a third of the rows weigh nothing."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(ROWS, WIDTH, generator=generator, dtype=dtype).requires_grad_()
    head = torch.randn(VOCAB, WIDTH, generator=generator, dtype=dtype).requires_grad_()
    targets = torch.randint(VOCAB, (ROWS,), generator=generator)
    weights = torch.rand(ROWS, generator=generator, dtype=dtype) + 0.1
    if ignored:
        weights[::3] = 0.0
        targets[::3] = -100
    return hidden, head, targets, weights


def reference(hidden, head, targets, weights):
    """torch's loss of every row (0 where ignored) and their weighted sum."""
    nll = F.cross_entropy(F.linear(hidden, head), targets, reduction="none", ignore_index=-100)
    return (nll * weights).sum(), nll.detach()


@pytest.mark.parametrize("chunk", [1, 8, ROWS, 1000, None])
@pytest.mark.parametrize("ignored", [False, True])
def test_equals_torch(chunk, ignored):
    hidden, head, targets, weights = problem(ignored=ignored)
    loss, nll = chunked_cross_entropy(hidden, head, targets, weights, chunk)
    wanted, wanted_nll = reference(hidden, head, targets, weights)
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(nll, wanted_nll)
    ours = torch.autograd.grad(2.5 * loss, (hidden, head))
    theirs = torch.autograd.grad(2.5 * wanted, (hidden, head))
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their)
    assert (ours[0][weights == 0] == 0).all()


@pytest.mark.parametrize("ignored", [False, True])
def test_fp32_takes_the_quick_product_and_equals_fp64(ignored):
    exact = problem(ignored=ignored)
    quick = [tensor.detach().float() if tensor.is_floating_point() else tensor for tensor in exact]
    for tensor in quick[:2]:
        tensor.requires_grad_()
    with profile() as recorded:
        loss, nll = chunked_cross_entropy(*quick, chunk=8)
    ran = {event.key: event.count for event in recorded.key_averages()}
    assert ran["mkldnn::_linear_pointwise"] == -(-int((quick[3] > 0).sum()) // 8)
    wanted, wanted_nll = reference(*exact)
    loss.backward()
    wanted.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    torch.testing.assert_close(nll.double(), wanted_nll, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(quick[:2], exact[:2], strict=True):
        assert (ours.grad - theirs.grad).norm() <= 1e-6 * theirs.grad.norm()


def test_a_row_without_weight_may_hold_anything():
    """Not even a NaN in a masked row reaches the loss or a gradient."""
    hidden, head, targets, weights = problem(ignored=True)
    with torch.no_grad():
        hidden[0] = float("nan")
    loss, nll = chunked_cross_entropy(hidden, head, targets, weights, 8)
    loss.backward()
    assert loss.isfinite()
    assert nll[0] == 0
    assert hidden.grad.isfinite().all()
    assert head.grad.isfinite().all()


def test_no_row_counts():
    hidden, head, targets, _ = problem()
    loss, nll = chunked_cross_entropy(hidden, head, targets, torch.zeros(ROWS), 8)
    loss.backward()
    assert loss == 0
    assert (nll == 0).all()
    assert (head.grad == 0).all()


def test_extreme_logits_stay_finite():
    hidden, head, targets, weights = problem(torch.float32)
    loss, _ = chunked_cross_entropy(hidden * 1e4, head, targets, weights, 8)
    assert loss.isfinite()


@pytest.mark.parametrize("frozen", ["hidden", "head"])
def test_only_one_side_trains(frozen):
    hidden, head, targets, weights = problem()
    (hidden if frozen == "hidden" else head).requires_grad_(False)
    chunked_cross_entropy(hidden, head, targets, weights, 8)[0].backward()
    assert (hidden.grad is None) == (frozen == "hidden")
    assert (head.grad is None) == (frozen == "head")


def test_without_gradients():
    hidden, head, targets, weights = problem()
    with torch.no_grad():
        loss, nll = chunked_cross_entropy(hidden, head, targets, weights, 8)
    wanted, wanted_nll = reference(hidden, head, targets, weights)
    torch.testing.assert_close(loss, wanted.detach())
    torch.testing.assert_close(nll, wanted_nll)
    assert not loss.requires_grad


def test_losses_of_rows_carry_no_gradient():
    hidden, head, targets, weights = problem()
    assert not chunked_cross_entropy(hidden, head, targets, weights, 8)[1].requires_grad


def test_second_backward_is_refused():
    """The gradients are handed over, not kept: a second backward must not return scaled leftovers."""
    hidden, head, targets, weights = problem()
    loss, _ = chunked_cross_entropy(hidden, head, targets, weights, 8)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        loss.backward()


def test_bf16_autocast_is_near_fp32():
    hidden, head, targets, weights = problem(torch.float32, ignored=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, nll = chunked_cross_entropy(hidden, head, targets, weights, 8)
    wanted, _ = reference(hidden, head, targets, weights)
    ours = torch.autograd.grad(loss, (hidden, head))
    theirs = torch.autograd.grad(wanted, (hidden, head))
    assert loss.dtype == nll.dtype == ours[0].dtype == ours[1].dtype == torch.float32
    torch.testing.assert_close(loss, wanted, rtol=1e-2, atol=0.0)
    assert abs(loss - wanted) > 1e-6 * wanted, "the products were not rounded to bf16"
    for our, their in zip(ours, theirs, strict=True):
        assert (our - their).norm() < 0.01 * their.norm()


def test_bf16_hidden_states_under_autocast():
    """What a network under autocast hands over: bf16 states beside an fp32 head."""
    hidden, head, targets, weights = problem(torch.float32)
    states = hidden.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        chunked_cross_entropy(states, head, targets, weights, 8)[0].backward()
    assert states.grad.dtype == torch.bfloat16
    assert head.grad.dtype == torch.float32


class LargestTensor(TorchDispatchMode):
    """Notes the most elements any operation returned."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.largest = max(self.largest, leaf.numel())
        return result


@pytest.mark.parametrize("ignored", [False, True])
def test_logits_never_stand_whole(ignored):
    hidden, head, targets, weights = problem(torch.float32, ignored)
    with LargestTensor() as seen:
        chunked_cross_entropy(hidden, head, targets, weights, 8)[0].backward()
    assert seen.largest <= max(8 * VOCAB, ROWS * WIDTH)
    with LargestTensor() as plain:
        reference(hidden, head, targets, weights)[0].backward()
    assert plain.largest == ROWS * VOCAB
