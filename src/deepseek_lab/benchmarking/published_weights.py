"""Weights of a `transformers` model in memory under our names, so that two implementations can be compared.

The names are those of the key tables that read and write folders (`checkpoint.huggingface.keys`); in memory
transformers fuses a layer's experts, which are taken apart here. Every tensor of ours must be found, so that a part
which is not compared cannot slip through.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from deepseek_lab.checkpoint.huggingface.keys import places, tensors_of
from deepseek_lab.model.mtp import MultiTokenPrediction
from deepseek_lab.model.transformer import Transformer

FAMILY = "deepseek_v3"
"""The table that knows every part of DeepSeek's own networks; Llama's and Qwen2's names are those of `llama`."""


def copy_weights(theirs: Any, ours: Transformer) -> None:
    """A `…ForCausalLM` of the Llama, Qwen2, V2 or V3 family -> our Transformer; MTP modules are left as they are."""
    wanted = {name: tensor for name, tensor in tensors_of(ours).items() if not name.startswith("mtp.")}
    family = FAMILY if hasattr(theirs.config, "kv_lora_rank") else "llama"
    _copy(dict(apart(theirs.state_dict())), wanted, family, ours.config.n_layers)


def copy_mtp_layer(theirs: Any, ours: MultiTokenPrediction) -> None:
    """A transformers `MtpLayer` -> one of our modules."""
    state = {}
    for name, tensor in apart(theirs.state_dict()):
        published = name.replace("post_norm.", "shared_head.norm.").removeprefix("mtp_block.")
        state[f"model.layers.0.{published}"] = tensor
    _copy(state, {f"mtp.0.{name}": tensor for name, tensor in ours.state_dict(keep_vars=True).items()}, FAMILY, 0)


def as_ours(theirs: Any, of_theirs: dict[str, Tensor], ours: Transformer) -> dict[str, Tensor]:
    """Numbers of their parameters (gradients) under the names of ours. Raises KeyError for one that is missing."""
    named = ours.named_parameters()
    found = {name: torch.zeros_like(p.detach()) for name, p in named if not name.startswith("mtp.")}
    family = FAMILY if hasattr(theirs.config, "kv_lora_rank") else "llama"
    _copy(dict(apart(of_theirs)), found, family, ours.config.n_layers)
    return found


def largest_difference(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Over the parameters the largest ‖a - b‖ / ‖b‖. Raises KeyError for one that is missing on our side."""
    return max(float((ours[name] - b).norm() / b.norm()) for name, b in theirs.items())


@torch.no_grad()
def _copy(state: dict[str, Tensor], tensors: dict[str, Tensor], family: str, n_layers: int) -> None:
    """Fills `tensors`. Raises KeyError for a published name that `state` lacks."""
    for name, place in places(tensors, family, n_layers).items():
        place.view(tensors[place.ours]).copy_(state[name])


def apart(state: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The names of a folder: each expert on its own, its gate apart from its up."""
    for name, tensor in state.items():
        stem, _, kind = name.rpartition(".experts.")
        if kind == "gate_up_proj":
            for expert, both in enumerate(tensor):
                for part, half in zip(("gate", "up"), both.chunk(2), strict=True):
                    yield f"{stem}.experts.{expert}.{part}_proj.weight", half
        elif kind == "down_proj":
            for expert, one in enumerate(tensor):
                yield f"{stem}.experts.{expert}.down_proj.weight", one
        else:
            yield name, tensor
