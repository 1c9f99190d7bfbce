"""Weights of one reader: what the others build without reading, and that they end with the reader's to the bit."""

import copy

import pytest
import torch

from deepseek_lab.checkpoint import first_rank, native
from deepseek_lab.checkpoint.first_rank import are_unread, leave_unread, send_from_first, unread_weights
from deepseek_lab.checkpoint.gguf_file import GgufFile
from deepseek_lab.checkpoint.huggingface.tensor_file import TensorFile
from deepseek_lab.checkpoint.native import describe, load_value_model
from deepseek_lab.checkpoint.opening import load_any
from deepseek_lab.model.value_head import ValueModel
from tests.checkpoint.test_gguf import SIZES, written
from tests.model.tiny import config, grouped
from tests.published_folders import theirs_of, write, write_with_mtp
from tiny_run import tiny_config


def native_run(folder, model):
    content = {
        "state_dict": {f"model.{name}": tensor for name, tensor in model.state_dict().items()},
        "model_config": describe(model.config),
        "run": {},
    }
    (folder / "checkpoints").mkdir(parents=True)
    torch.save(content, folder / "checkpoints" / "step_00000001.ckpt")
    return folder


MAKERS = {
    "tied": lambda folder: write(theirs_of("llama", tie_word_embeddings=True), folder),
    "mtp": write_with_mtp,
    "gguf": lambda folder: written(folder.with_suffix(".gguf"), theirs_of("llama", **SIZES)),
    "run": lambda folder: native_run(folder, tiny_config().build()),
    "judge": lambda folder: native_run(folder, ValueModel.around(tiny_config().build())),
}


def refused(*_, **__):
    raise AssertionError("numbers were read")


@pytest.mark.parametrize("kind", MAKERS)
def test_an_unread_model_has_every_shape_and_no_number(kind, tmp_path, monkeypatch):
    place = MAKERS[kind](tmp_path / "model")
    load = load_value_model if kind == "judge" else lambda path: load_any(str(path))
    whole, state, mapped = load(place), torch.get_rng_state(), []
    torch.manual_seed(5)
    load(place)
    after_reading = torch.get_rng_state()
    monkeypatch.setattr(TensorFile, "_fill", refused)
    monkeypatch.setattr(GgufFile, "numbers", refused)
    read = torch.load
    monkeypatch.setattr(native.torch, "load", lambda *words, **how: mapped.append(how["mmap"]) or read(*words, **how))
    torch.manual_seed(5)
    with unread_weights():
        model = load(place)
    assert torch.equal(torch.get_rng_state(), after_reading), "what is drawn next is drawn alike on every rank"
    torch.set_rng_state(state)
    assert not are_unread()
    assert mapped == ([True] if kind in ("run", "judge") else [])
    assert model.config == whole.config
    tensors = model.state_dict()
    shapes = {name: tensor.shape for name, tensor in whole.state_dict().items()}
    assert {name: tensor.shape for name, tensor in tensors.items()} == shapes
    assert all(bool(tensor.isnan().all()) for tensor in tensors.values() if tensor.is_floating_point())
    assert (model.training, len(list(model.parameters()))) == (False, len(list(whole.parameters())))


class Odd(torch.nn.Module):
    """Tensors of many dtypes, a shared one, one that is not contiguous, an empty one."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.wide = torch.nn.Parameter(torch.randn(3, 4))
        self.same = self.wide
        self.turned = torch.nn.Parameter(torch.randn(4, 3).T, requires_grad=False)
        for name, dtype in {"brief": torch.bfloat16, "narrow": torch.float8_e4m3fn, "count": torch.int64}.items():
            self.register_buffer(name, (9 * torch.randn(5)).to(dtype))
        self.register_buffer("one", torch.tensor(bool(seed)), persistent=False)
        self.register_buffer("none", torch.empty(0))


def test_every_tensor_is_sent_once_and_arrives_to_the_bit(monkeypatch):
    wire = []

    def broadcast(tensor, src):
        assert (src, tensor.is_contiguous(), tensor.dtype) == (0, True, torch.uint8)
        wire.append(tensor.clone()) if rank == 0 else tensor.copy_(wire.pop(0))

    monkeypatch.setattr(first_rank.torch.distributed, "broadcast", broadcast)
    monkeypatch.setattr(first_rank.torch.distributed, "get_rank", lambda: rank)
    models = [Odd(1), config(grouped(4), "dense").build()]
    before = copy.deepcopy(models)
    others = [Odd(0), config(grouped(4), "dense").build()]
    assert not torch.equal(others[0].wide, models[0].wide)
    leave_unread(others[1])
    rank = 0
    send_from_first(models, torch.device("cpu"))
    assert len(wire) == 6 + len(models[1].state_dict())
    rank = 1
    send_from_first(others, torch.device("cpu"))
    assert not wire
    for ours, theirs, original in zip(others, models, before, strict=True):
        for mine, yours, kept in zip(*(states(model) for model in (ours, theirs, original)), strict=True):
            assert torch.equal(mine, yours)
            assert torch.equal(yours, kept), "the sender keeps what it has"


def states(model):
    tensors = [*model.parameters(), *model.buffers()]
    return [tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in tensors]
