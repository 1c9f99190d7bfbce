"""Layouts of weights that are kept: what is packed and when, and what a large or a small model gets."""

import pytest
import torch

from deepseek_lab.model import prepared as module
from deepseek_lab.model.linear import decoding, project
from deepseek_lab.model.prepared import Prepared


def packed_after(prepared, weight, uses=10):
    return next((n for n in range(uses) if prepared.packed(weight) is not None), None)


def test_a_matrix_is_packed_once_it_has_been_read_a_few_times():
    prepared, weight = Prepared(keeps=True, packs=True), torch.randn(400, 300)
    assert packed_after(prepared, weight) == module._PACKED_AFTER
    assert prepared.packed(weight) is prepared.packed(weight)


@pytest.mark.parametrize(
    ("prepared", "weight"),
    [
        (Prepared(), torch.randn(400, 300)),
        (Prepared(keeps=True), torch.randn(400, 300)),
        (Prepared(streams=False, keeps=True, packs=True), torch.randn(400, 300)),
        (Prepared(keeps=True, packs=True), torch.randn(40, 30)),
        (Prepared(keeps=True, packs=True), torch.randn(400, 300).double()),
    ],
    ids=["not kept", "equal bits", "from the cache", "small", "float64"],
)
def test_nothing_else_is_packed(prepared, weight):
    assert packed_after(prepared, weight) is None


@torch.no_grad()
def test_a_packed_product_is_the_plain_one():
    torch.manual_seed(0)
    weight, bias = torch.randn(400, 300), torch.randn(400)
    prepared = Prepared(keeps=True, packs=True)
    for shape in [(3, 300), (2, 5, 300), (70, 300)] * 3:
        x = torch.randn(shape)
        with decoding(prepared):
            y = project(x, weight, bias)
        torch.testing.assert_close(y, torch.nn.functional.linear(x, weight, bias), atol=1e-4, rtol=1e-5)
    assert prepared.packed(weight) is not None


def test_what_is_kept_is_made_once_and_else_each_time():
    weight, made = torch.randn(4, 3), []
    for prepared, times in ((Prepared(keeps=True), 1), (Prepared(), 2)):
        made.clear()
        for _ in range(2):
            prepared.kept(weight, "turned", lambda: made.append(0) or weight.t())
        assert len(made) == times


def test_a_model_is_judged_by_its_size(monkeypatch):
    model = torch.nn.Linear(100, 100)
    small = Prepared.of(model)
    monkeypatch.setattr(module, "_CACHED_BYTES", 1000)
    streaming = Prepared.of(model)
    monkeypatch.setattr(module, "_MOST_BYTES", 1000)
    large = Prepared.of(model)
    kinds = [(prepared.streams, prepared.keeps, prepared.packs) for prepared in (small, streaming, large)]
    assert kinds == [(False, True, False), (True, True, True), (True, False, False)]
