"""The parts of the memory follow from parameters, from what is kept, and from the loss's own buffers."""

import dataclasses

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from deepseek_lab.objectives.next_token import chunked_cross_entropy
from deepseek_lab.planning.kept import fake_tensors, make_fake
from deepseek_lab.planning.memory import MicroBatch, kept_by, loss_bytes, memory
from tests.model.tiny import build, config
from tiny_run import V3_BALANCE

BATCH = MicroBatch(size=2, seq_len=24, narrow=False, device_type="cpu", isolate_documents=False, repeated=False)


def planned(batch, shards=1, model_config=None):
    with torch.device("meta"):
        model = (model_config or config(mtp=1)).build()
    with fake_tensors():
        make_fake(model)
        moments = 8 * sum(parameter.numel() for parameter in model.parameters())
        return memory(model, V3_BALANCE, batch, shards, moments), kept_by(model, V3_BALANCE, batch), model


def test_weights_gradients_and_two_moments_stand_in_fp32():
    parts, kept, model = planned(BATCH)
    n_params = sum(parameter.numel() for parameter in model.parameters())
    assert (parts.weights, parts.gradients, parts.optimizer) == (4 * n_params, 4 * n_params, 8 * n_params)
    assert parts.activations == kept.activations + loss_bytes(model, BATCH)
    assert parts.peak == 16 * n_params + parts.activations


def test_tied_weights_count_once():
    tied, apart = planned(BATCH, model_config=config(tie_embeddings=True))[2], planned(BATCH, model_config=config())[2]
    assert tied.head.weight is tied.embedding.weight
    assert sum(p.numel() for p in apart.parameters()) - sum(p.numel() for p in tied.parameters()) == 97 * 64


def test_sharding_divides_everything_but_activations():
    whole, shared = planned(BATCH)[0], planned(BATCH, shards=4)[0]
    assert 4 * shared.weights == pytest.approx(whole.weights, abs=4)
    assert 4 * shared.optimizer == pytest.approx(whole.optimizer, abs=8)
    assert shared.activations == whole.activations


def test_copies_in_a_narrow_format_are_weights_that_sharding_does_not_divide():
    narrow = dataclasses.replace(BATCH, narrow=True)
    parts, kept, model = planned(narrow, shards=4)
    assert kept.weight_copies > 0
    assert parts.weights == sum(parameter.numel() for parameter in model.parameters()) + kept.weight_copies


def test_activations_grow_with_the_micro_batch():
    one, four = (planned(dataclasses.replace(BATCH, size=n))[1].activations for n in (1, 4))
    assert 3.9 < four / one <= 4


class _Live(TorchDispatchMode):
    """The bytes of all storages that operations made and that are still in use at the highest point."""

    def __init__(self):
        super().__init__()
        self.storages, self.peak = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in (result,) if isinstance(result, torch.Tensor) else ():
            self.storages[torch.multiprocessing.reductions.StorageWeakRef(tensor.untyped_storage())] = (
                tensor.untyped_storage().nbytes()
            )
        self.storages = {ref: size for ref, size in self.storages.items() if not ref.expired()}
        self.peak = max(self.peak, sum(self.storages.values()))
        return result


@pytest.mark.parametrize("repeated", [False, True])
def test_the_loss_takes_what_its_buffers_take(repeated):
    """Its peak on real tensors, within what one operation of a chunk needs for a moment."""
    model = build(mtp=0, vocab_size=3000)
    hidden_ND = torch.randn(2 * 512, 64, requires_grad=True)
    targets_N = torch.randint(3000, (1024,))
    with _Live() as live:
        chunked_cross_entropy(hidden_ND, model.head_weight_VD, targets_N, torch.full((1024,), 1 / 1024))
    stated = loss_bytes(model, dataclasses.replace(BATCH, seq_len=512, repeated=repeated))
    head = 0 if repeated else model.head_weight_VD.numel() * 4  # else it counts as the gradient that it becomes
    assert stated + head == pytest.approx(live.peak, rel=0.15)
