"""16 letters that tell two sets of weights apart: a run names by them the networks that it reads and does not train."""

import hashlib

import torch
from torch import nn


def fingerprint(model: nn.Module) -> str:
    """Of all parameters and buffers, by name."""
    whole = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        whole.update(name.encode())
        whole.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()[:16]
