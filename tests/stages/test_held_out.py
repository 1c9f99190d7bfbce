"""Bits per byte of each corpus are those that a validation of that corpus alone would give."""

import dataclasses
from typing import Any

import pytest
import torch

from deepseek_lab.data.packing import MicroBatch
from deepseek_lab.stages.held_out import evaluate
from tiny_run import VOCABULARY, tiny_config

NAMES = ("code", "prose", "unseen")
BYTES_V = torch.arange(VOCABULARY) % 3


def batches(generator: torch.Generator) -> list[MicroBatch]:
    def one(rows: int) -> MicroBatch:
        breaks_BT1 = torch.rand(rows, 13, generator=generator) < 0.2
        tokens_BT1 = torch.randint(VOCABULARY, (rows, 13), generator=generator)
        return MicroBatch(tokens_BT1, breaks_BT1.cumsum(1), torch.randint(2, (rows,), generator=generator))

    return [one(4), one(3), one(5)]


def of_source(micro: MicroBatch, source: int) -> MicroBatch:
    chosen_B = micro.source_B == source
    return MicroBatch(micro.tokens_BT1[chosen_B], micro.document_BT1[chosen_B], micro.source_B[chosen_B])


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("isolate_documents", [False, True])
def test_each_corpus_is_measured_apart(depth: int, isolate_documents: bool) -> None:
    torch.manual_seed(0)
    model: Any = dataclasses.replace(tiny_config(depth=depth), init_std=0.5).build().eval()
    every = batches(torch.Generator().manual_seed(0))
    together = evaluate(model, every, BYTES_V, isolate_documents, NAMES)
    alone = evaluate(model, every, BYTES_V, isolate_documents)
    assert {name: together[name] for name in alone} == alone
    assert set(together) - set(alone) == {"val/code/bits_per_byte", "val/prose/bits_per_byte"}
    for source, name in enumerate(NAMES[:2]):
        mine = evaluate(model, [of_source(micro, source) for micro in every], BYTES_V, isolate_documents)
        assert together[f"val/{name}/bits_per_byte"] == pytest.approx(mine["val/bits_per_byte"], rel=1e-5)
    assert together["val/code/bits_per_byte"] != pytest.approx(together["val/prose/bits_per_byte"], rel=1e-3)
