"""RoPE of a published config.json, both ways: the old `rope_theta` + `rope_scaling` and the new `rope_parameters`.

Written is the old spelling, which every release of transformers and vLLM reads.

Where the temperature of YaRN goes depends on the family. DeepSeek's MLA multiplies the softmax scale with it
(`mscale_all_dim`); Llama's and Qwen2's attention only ever scales cos and sin, so there all of it stands in
`attention_factor`, which is the same where every channel is rotated.
"""

import math
from typing import Any

from deepseek_lab.checkpoint.huggingface.sheet import Sheet
from deepseek_lab.model.rope import RopeConfig

_SHARED = {"theta": "rope_theta", "type": "rope_type", "factor": "factor"}
_YARN = {
    "original_max_seq_len": "original_max_position_embeddings",
    "beta_fast": "beta_fast",
    "beta_slow": "beta_slow",
    "mscale": "mscale",
    "mscale_all_dim": "mscale_all_dim",
    "attention_factor": "attention_factor",
    "truncate": "truncate",
}
_LLAMA3 = {
    "original_max_seq_len": "original_max_position_embeddings",
    "low_freq_factor": "low_freq_factor",
    "high_freq_factor": "high_freq_factor",
}
_OF_TYPE: dict[str, dict[str, str]] = {"default": {}, "linear": {}, "llama3": _LLAMA3, "yarn": _YARN}


def read_rope(sheet: Sheet, latent: bool) -> RopeConfig:
    """The RopeConfig of a published config. Raises DataError for a type or a value that we do not know."""
    given = sheet.get("rope_scaling") or sheet.get("rope_parameters") or {}
    if not isinstance(given, dict):
        raise sheet.refuse("rope_scaling is no object")
    inner = Sheet({"rope_theta": sheet.get("rope_theta", 10000.0), **given}, {}, sheet.where)
    kind = given.get("rope_type", given.get("type", "default"))
    if kind not in _OF_TYPE:
        raise sheet.refuse(f"rope_type {str(kind)[:40]!r} is unknown here; known: {', '.join(_OF_TYPE)}")
    if inner.get("partial_rotary_factor", sheet.get("partial_rotary_factor")) not in (None, 1, 1.0):
        raise sheet.refuse("partial_rotary_factor: only heads that are rotated whole can be loaded")
    if kind != "yarn" and inner.get("mscale_all_dim") and latent and kind != "default":
        raise sheet.refuse(f"mscale_all_dim under rope_type {kind} is unknown here")
    names = {**_SHARED, **_OF_TYPE[kind]}
    inner.require_sane({*names.values(), "rope_type", "type"})
    values = {ours: inner.get(theirs) for ours, theirs in names.items() if inner.get(theirs) is not None}
    values["type"] = kind
    if kind == "default":
        values.pop("factor", None)
    if kind in ("yarn", "llama3"):
        _complete(values, sheet)
    with sheet.naming(names):
        rope = RopeConfig(**values)
    return rope if latent or kind != "yarn" else _on_the_rotation(rope, rope.rotation_factor)


def _complete(values: dict[str, Any], sheet: Sheet) -> None:
    """What transformers fills in: the length before the extension, and the factor from the two lengths."""
    longest = sheet.get("max_position_embeddings")
    values["original_max_seq_len"] = sheet.get("original_max_position_embeddings") or values.get(
        "original_max_seq_len", longest
    )
    if "factor" not in values and isinstance(longest, int) and type(values["original_max_seq_len"]) is int:
        values["factor"] = longest / max(values["original_max_seq_len"], 1)
    for name in ("beta_fast", "beta_slow"):
        if not values.get(name, 1):
            del values[name]


def _on_the_rotation(rope: RopeConfig, attention_factor: float) -> RopeConfig:
    """The same frequencies with the temperature on cos and sin alone; the default one is not spelt."""
    values = vars(rope) | {"mscale": None, "mscale_all_dim": None, "attention_factor": None}
    plain = RopeConfig(**values)
    if math.isclose(plain.rotation_factor, attention_factor, rel_tol=1e-12):
        return plain
    return RopeConfig(**{**values, "attention_factor": attention_factor})


def write_rope(rope: RopeConfig, latent: bool) -> dict[str, Any]:
    """`rope_theta` and `rope_scaling`, as they stand in a config.json."""
    if rope.type == "default":
        return {"rope_theta": rope.theta, "rope_scaling": None}
    if rope.type == "yarn" and not latent:
        rope = _on_the_rotation(rope, rope.rotation_factor * math.sqrt(rope.softmax_factor))
    scaling: dict[str, Any] = {"rope_type": rope.type, "type": rope.type, "factor": float(rope.factor)}
    for ours, theirs in _OF_TYPE[rope.type].items():
        value = getattr(rope, ours)
        if value is not None and not (ours == "truncate" and value):
            scaling[theirs] = value
    return {"rope_theta": rope.theta, "rope_scaling": scaling}
