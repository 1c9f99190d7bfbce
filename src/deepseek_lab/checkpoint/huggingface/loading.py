"""`load_pretrained`: a Hugging Face folder becomes a Transformer, one tensor at a time.

The network is built on `meta`, compared with the files, and only then given memory; each tensor is read straight
into its place, or through one buffer of its own size where its dtype changes. With several ranks each tensor is
read by one of them, in turn, and sent to the others: every byte leaves the disk once.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from deepseek_lab.checkpoint.huggingface.origin import Origin, remember
from deepseek_lab.checkpoint.huggingface.scaled_blocks import SCALE
from deepseek_lab.checkpoint.huggingface.source import FLOATS, Source
from deepseek_lab.checkpoint.huggingface.tensor_file import as_bytes
from deepseek_lab.config import ConfigError
from deepseek_lab.model.transformer import Transformer


def load_pretrained(
    path: str | Path, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> Transformer:
    """The language model of a folder, in eval mode; selection biases stay in fp32 whatever `dtype` is.

    path: a folder with config.json and safetensors, of a `model_type` that `families` knows
    Raises DataError, in one line, for a folder that is damaged, incomplete, or of an unknown kind.
    """
    if dtype not in FLOATS:
        raise ConfigError(f"must be float64, float32, float16 or bfloat16, not {dtype}", "dtype")
    source = Source(Path(path).expanduser())
    source.require_fit()
    model = source.blueprint
    allocate(model, dtype, torch.device(device))
    _fill(model, source)
    with_copies = any(source.stored(name) in source.folder for name in source.copies)
    remember(model, Origin(source.values, with_copies or not model.config.mtp.depth))
    return model.eval()


def allocate(model: Transformer, dtype: torch.dtype, device: torch.device) -> None:
    """Gives a model on `meta` memory without numbers; buffers keep their dtype, ties stay ties."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            empty = torch.empty(parameter.shape, dtype=dtype, device=device)
            setattr(module, name, nn.Parameter(empty, requires_grad=parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty_like(buffer, device=device))
    if model.config.tie_embeddings:
        model.head.weight = model.embedding.weight


@torch.no_grad()
def _fill(model: Transformer, source: Source) -> None:
    tensors = model.state_dict(keep_vars=True)
    for turn, stored in enumerate(source.folder.names):
        name = source.wrapping.inner(stored)
        if name in source.places:
            place = source.places[name]
            _read(source, stored, place.view(tensors[place.ours].detach()), turn)
    for name, ours in source.copies.items():
        if source.stored(name) in source.folder:
            _compare(source, source.stored(name), tensors[ours])


def _read(source: Source, name: str, into: Tensor, turn: int) -> None:
    """Fills a part of the model with a tensor of the folder."""
    entry = source.folder.entry(name)
    if _ranks() > 1:
        into.copy_(_from_one_rank(lambda: _restored(source, name), entry.shape, turn, into))
    elif entry.dtype == into.dtype and into.device.type == "cpu":
        source.folder.read(name, into)
    else:
        into.copy_(_restored(source, name))


def _restored(source: Source, name: str) -> Tensor:
    """A tensor of the folder as numbers: FP8 blocks multiplied by their scales."""
    tensor = source.folder.read(name)
    if tensor.dtype in FLOATS:
        return tensor
    assert source.blocks is not None, "compared before"
    return source.blocks.restore(tensor, source.folder.read(name.removesuffix(".weight") + SCALE))


def _ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _from_one_rank(read: Callable[[], Tensor], shape: tuple[int, ...], turn: int, like: Tensor) -> Tensor:
    """What rank `turn` (counted round) reads, on every rank, in the dtype and on the device of `like`."""
    owner = turn % _ranks()
    mine = read().to(like) if dist.get_rank() == owner else torch.empty(shape, dtype=like.dtype, device=like.device)
    mine = mine.contiguous()
    dist.broadcast(as_bytes(mine), src=owner)
    return mine


def _compare(source: Source, name: str, main: Tensor) -> None:
    """Warns when a tensor that is shared here has two values in the folder: the main model's counts."""
    if not torch.equal(_restored(source, name).to(main), main):
        warnings.warn(f"{source.path}: {name} differs from the main model's and is passed over", stacklevel=2)
