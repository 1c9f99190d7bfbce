"""`load_pretrained`: a Hugging Face folder becomes a Transformer, one tensor at a time.

The network is built on `meta`, compared with the files, and only then given memory; each tensor is read straight
into its place, or through one buffer of its own size where its dtype changes. With several ranks that are connected
each tensor is read by the one that has read least, and sent to the others: every byte leaves the disk once. Ranks that
are not connected yet: `checkpoint/first_rank`.
"""

import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from deepseek_lab.checkpoint.first_rank import are_unread, leave_unread
from deepseek_lab.checkpoint.huggingface.kept_narrow import fill_narrow, keep_narrow, narrow_pair
from deepseek_lab.checkpoint.huggingface.origin import Origin, remember
from deepseek_lab.checkpoint.huggingface.scaled_blocks import scale_of
from deepseek_lab.checkpoint.huggingface.source import FLOATS, Source
from deepseek_lab.checkpoint.huggingface.tensor_file import as_bytes
from deepseek_lab.config import ConfigError
from deepseek_lab.model.transformer import Transformer
from deepseek_lab.precision.stored import NARROW


def load_pretrained(
    path: str | Path,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    keep_fp8: bool = False,
) -> Transformer:
    """The language model of a folder, in eval mode; selection biases stay in fp32 whatever `dtype` is.

    path: a folder with config.json and safetensors, of a `model_type` that `families` knows
    keep_fp8: the products of attention and FFNs stay in FP8 (or become it) and are widened to `dtype` as they run;
        such a model can be used, not trained or saved
    Raises DataError, in one line, for a folder that is damaged, incomplete, or of an unknown kind.
    """
    if dtype not in FLOATS:
        raise ConfigError(f"must be float64, float32, float16 or bfloat16, not {dtype}", "dtype")
    source = Source(Path(path).expanduser())
    source.require_fit()
    model = source.blueprint
    if keep_fp8:
        keep_narrow(model, dtype)
    allocate(model, dtype, torch.device(device))
    if are_unread() and _ranks() == 1:
        leave_unread(model)
    else:
        _fill(model, source)
    with_copies = any(source.stored(name) in source.folder for name in source.copies)
    remember(model, Origin(source.values, with_copies or not model.config.mtp.depth))
    return model.eval()


def allocate(model: Transformer, dtype: torch.dtype, device: torch.device) -> None:
    """Gives a model on `meta` memory without numbers; buffers and FP8 keep their dtype, ties stay ties."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            width = parameter.dtype if parameter.dtype == NARROW else dtype
            empty = torch.empty(parameter.shape, dtype=width, device=device)
            setattr(module, name, nn.Parameter(empty, requires_grad=parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty_like(buffer, device=device))
    if model.config.tie_embeddings:
        model.head.weight = model.embedding.weight


@torch.no_grad()
def _fill(model: Transformer, source: Source) -> None:
    tensors = model.state_dict(keep_vars=True)
    bytes_of_rank = [0] * _ranks()
    for stored in source.folder.names:
        place = source.places.get(source.wrapping.inner(stored))
        if place is None:
            continue
        pair = narrow_pair(model, place.ours)
        whole = (tensors[place.ours].detach(),) if pair is None else pair
        views = [place.view(tensor) for tensor in whole]
        owner = bytes_of_rank.index(min(bytes_of_rank))
        bytes_of_rank[owner] += source.folder.entry(stored).n_bytes
        if _rank() == owner:
            _read(source, stored, views)
        for view in views if _ranks() > 1 else ():
            dist.broadcast(as_bytes(view), src=owner)
    for name, ours in source.copies.items() if _rank() == 0 else ():
        if source.stored(name) in source.folder:
            _compare(source, source.stored(name), tensors[ours])


def _read(source: Source, name: str, into: list[Tensor]) -> None:
    """Fills a part of the model, one tensor or a narrow pair, with a tensor of the folder."""
    entry = source.folder.entry(name)
    if len(into) == 2:
        wide = source.folder.read(name) if entry.dtype in FLOATS else None
        fill_narrow(source, name, into[0], into[1], wide)
    elif entry.dtype == into[0].dtype and into[0].device.type == "cpu":
        source.folder.read(name, into[0])
    else:
        into[0].copy_(_restored(source, name))


def _restored(source: Source, name: str) -> Tensor:
    """A tensor of the folder as numbers: FP8 blocks multiplied by their scales."""
    tensor = source.folder.read(name)
    if tensor.dtype in FLOATS:
        return tensor
    assert source.blocks is not None, "compared before"
    return source.blocks.restore(tensor, source.folder.read(scale_of(name)))


def _ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _rank() -> int:
    return dist.get_rank() if _ranks() > 1 else 0


def _compare(source: Source, name: str, main: Tensor) -> None:
    """Warns when a tensor that is shared here has two values in the folder: the main model's counts."""
    if not torch.equal(_restored(source, name).to(main), main):
        warnings.warn(f"{source.path}: {name} differs from the main model's and is passed over", stacklevel=2)
