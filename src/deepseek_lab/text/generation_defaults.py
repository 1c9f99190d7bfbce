"""How a published model wants to be sampled: `generation_config.json` beside its tokenizer.

Its end tokens are a list where a turn may end in several ways; config.json may hold such a list too, and all of them
end a response. Its temperature and filters are the defaults of whoever generates. A run that starts from the model
keeps the file in its folder.

Left out: beams, penalties by length and the other fields that no engine here has; `unused` names them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepseek_lab.config import DataError
from deepseek_lab.text.special_names import read_object

GENERATION = "generation_config.json"
_NUMBERS = ("temperature", "top_p", "min_p", "repetition_penalty")
_WHOLE = ("top_k", "max_new_tokens")
_SAMPLED = (*_NUMBERS, *_WHOLE)
_NEUTRAL = {"num_beams": 1, "num_return_sequences": 1, "use_cache": True}
_SILENT = (
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "transformers_version"),
    *("do_sample", "max_length"),  # a length with the prompt in it, 20 where nobody thought of it
)


@dataclass(frozen=True)
class GenerationDefaults:
    """values: the file as it is; end_ids: tokens that end a response, beside the tokenizer's own."""

    values: dict[str, Any] = field(default_factory=dict)
    end_ids: frozenset[int] = frozenset()

    @property
    def sampling(self) -> dict[str, Any]:
        """The sampling that is stated, under the names of `Sampling`; greedy where `do_sample` is false."""
        if self.values.get("do_sample") is False:
            return {"temperature": 0.0}
        stated = {name: self.values[name] for name in (*_NUMBERS, "top_k") if self.values.get(name) is not None}
        return {name: (value or None) if name == "top_k" else value for name, value in stated.items()}

    @property
    def max_new_tokens(self) -> int | None:
        """The length that is stated."""
        found = self.values.get("max_new_tokens")
        return None if found is None else int(found)

    @property
    def unused(self) -> list[str]:
        """Fields that would change a response and that nothing here reads."""
        said = {name: value for name, value in self.values.items() if not name.startswith("_")}
        changes = {name for name, value in said.items() if value not in (None, False, _NEUTRAL.get(name))}
        return sorted(changes - {*_SILENT, *_SAMPLED})


def generation_beside(folder: Path) -> GenerationDefaults:
    """What the files of a folder say; nothing where there are none. Raises DataError for one that is damaged."""
    path, config = folder / GENERATION, folder / "config.json"
    values = read_object(path) if path.is_file() else {}
    for name in _SAMPLED:
        _require_number(values.get(name), name in _WHOLE, path, name)
    ends = set(_ids(values.get("eos_token_id"), path))
    if config.is_file():
        ends |= set(_ids(read_object(config).get("eos_token_id"), config))
    return GenerationDefaults(values, frozenset(ends))


def _ids(value: Any, path: Path) -> Iterable[int]:
    """One id, several, or none."""
    listed = value if isinstance(value, list) else [] if value is None else [value]
    for each in listed:
        if isinstance(each, bool) or not isinstance(each, int) or each < 0:
            raise DataError(f"{path}: eos_token_id holds {str(each)[:40]!r}, which is no token")
    return listed


def _require_number(value: Any, whole: bool, path: Path, name: str) -> None:
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if value is not None and not (fits and value >= 0):
        raise DataError(f"{path}: {name} is {str(value)[:40]!r}, not {'an integer' if whole else 'a number'}")
