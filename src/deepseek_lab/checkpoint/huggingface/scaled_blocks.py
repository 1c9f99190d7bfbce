"""FP8 weights on disk: e4m3 numbers, and a scale for each block of 128×128 in a tensor beside them.

DeepSeek-V3's form (README_WEIGHTS): `<name>.weight` and `<name>.weight_scale_inv`, ceil(rows/128) × ceil(columns/128)
in fp32, which, whatever its name says, is multiplied. Blocks at the edges cover less.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from deepseek_lab.config import DataError

SCALE = ".weight_scale_inv"


def scale_of(weight: str) -> str:
    """The name of a weight's scales."""
    return weight.removesuffix(".weight") + SCALE


@dataclass(frozen=True)
class BlockFormat:
    """Rows and columns that share a scale."""

    rows: int
    columns: int

    def scale_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of the scales of a matrix of this shape; nothing else is ever scaled."""
        if len(shape) != 2:
            return ()
        return -(-shape[0] // self.rows), -(-shape[1] // self.columns)

    def restore(self, narrow: Tensor, scale: Tensor) -> Tensor:
        """(R, C) e4m3 and its scales -> fp32."""
        rows, columns = narrow.shape
        wide = scale.float().repeat_interleave(self.rows, 0)[:rows].repeat_interleave(self.columns, 1)[:, :columns]
        return wide.mul_(narrow.float())


RELEASED = BlockFormat(128, 128)


UNQUANTISED = "none"


def _method(config: dict[str, Any]) -> str:
    """What a config says of its weights; old ones of bitsandbytes name no method, and may quantise nothing."""
    bits = [name for name in ("load_in_4bit", "load_in_8bit") if name in config or f"_{name}" in config]
    asked = [name for name in bits if config.get(name) or config.get(f"_{name}")]
    if bits and config.get("quant_method") in (None, "bitsandbytes"):
        return f"bitsandbytes ({asked[0]})" if asked else UNQUANTISED
    return str(config.get("quant_method") or f"a config that names no quant_method but {', '.join(sorted(config))}")


def block_format(config: Any, where: str) -> BlockFormat | None:
    """What `quantization_config` says; None without one. Raises DataError for a form that is not FP8 in blocks."""
    if config is None:
        return None
    if not isinstance(config, dict):
        raise DataError(f"{where}: quantization_config must be an object, not {str(config)[:40]!r}")
    method = _method(config)
    if method == UNQUANTISED:
        return None
    if method != "fp8":
        raise DataError(
            f"{where}: quantization_config: only fp8 in blocks is read, not {method[:40]!r}; take the folder before "
            "it was quantised, or save one: transformers' model.dequantize() and save_pretrained(folder)"
        )
    size = config.get("weight_block_size")
    if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int and 0 < n <= 2**20 for n in size):
        raise DataError(f"{where}: quantization_config.weight_block_size must be two sizes, not {str(size)[:40]!r}")
    if config.get("fmt", "e4m3") != "e4m3":
        raise DataError(f"{where}: quantization_config.fmt: only e4m3 is read, not {str(config['fmt'])[:20]!r}")
    return BlockFormat(*size)


def quantisation() -> dict[str, Any]:
    """The `quantization_config` of what `save_pretrained` writes."""
    return {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [RELEASED.rows, RELEASED.columns],
    }


def is_scaled(name: str, shape: tuple[int, ...]) -> bool:
    """Whether DeepSeek stores this published tensor in FP8: the products of attention and FFNs, not the router."""
    inside = ".self_attn." in name or ".mlp." in name
    return inside and len(shape) == 2 and name.endswith(".weight") and not name.endswith(".mlp.gate.weight")
