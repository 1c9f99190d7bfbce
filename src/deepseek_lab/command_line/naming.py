"""Names of run folders: words a person reads as a line in TensorBoard, and a hash of the job.

A folder name holds letters, digits and `. _ - +` only: `=`, a comma, a space or a slash would have
to be quoted for Hydra's parser whenever the folder is handed back (`resume=`, `runs=`).

A job is its hash: the same job typed with other words, in another order, or with a key of the shape sheet that
its network does not read, goes on in the folder it has.

Left out on purpose: instantiating anything. The hash reads the resolved config alone, so that it costs no import of
torch; what a part makes of a value that it reads without effect does change it.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from deepseek_lab.command_line.arithmetic import quotient, rest
from deepseek_lab.command_line.unread import SHEET, SHEET_READS, read_sheet_keys

PROJECT_ROOT = Path(__file__).resolve().parents[3]

_OF_THE_SWEEP = frozenset({"sweep", "sweep_stale", "sweep_report", "ablation", "match", "hydra"})

NOT_IN_A_NAME = _OF_THE_SWEEP | {"resume", "init_from", "paths"}
"""Top-level keys that say where or how a run is kept, not what it is."""

NOT_IN_THE_HASH = _OF_THE_SWEEP | {"resume", "paths", "hardware", "profile"}
"""What changes no number of a run: what a match solved stands in the shape sheet, `hardware` is compared with."""

_ONLY_HOW_FAST = ("cache_dir", "n_workers")
"""The same of `data` and of what it holds."""

_LONGEST_NAME = 80


def _plain(text: str) -> str:
    """`text` with every character a folder name may not hold replaced by a dash."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-.")


def _word(override: str) -> str:
    """`model.kv_lora_rank=64` as `kv_lora_rank-64`; empty for keys that stay out of names."""
    key, _, value = override.lstrip("+~").partition("=")
    if key.split(".")[0] in NOT_IN_A_NAME:
        return ""
    if value.strip("'").startswith("/"):  # of a path its last name says enough
        value = Path(value.strip("'")).name
    return _plain(f"{key.split('.')[-1]}-{value}")


def run_words(overrides: Sequence[str]) -> str:
    """The task overrides of one job as a folder name of at most 80 characters; `default` for none.

    Where they do not all fit, single values (`trainer.max_steps=9`) go first, from the left: a choice
    (`attention=mla`), the seed and an axis typed last say more of what a job is among others.
    """
    words = [(key_is_dotted, word) for key_is_dotted, word in map(_dotted_word, overrides) if word]
    while len(words) > 1 and len("_".join(word for _, word in words)) > _LONGEST_NAME:
        dotted = next((pair for pair in words if pair[0]), words[-1])
        words.remove(dotted)
    return ("_".join(word for _, word in words) or "default")[:_LONGEST_NAME]


def _dotted_word(override: str) -> tuple[bool, str]:
    """Whether an override names a single value of a group, and its word."""
    return "." in override.partition("=")[0], _word(override)


def job_hash(config: DictConfig) -> str:
    """8 hex digits that tell two jobs apart: sha256 of the resolved config without what changes no number."""
    text = json.dumps(identity_values(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def identity_values(config: DictConfig) -> dict[str, Any]:
    """The resolved values that make a job what it is, by top-level key.

    Of the shape sheet the keys count that the network reads. The values of `paths` are taken out of the texts, so
    that a moved project keeps its hashes.
    """
    values: dict[str, Any] = {}
    for key in sorted(str(k) for k in config if k not in NOT_IN_THE_HASH):
        value = OmegaConf.select(config, key)
        values[key] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    _leave_out(config, values)
    folders = (OmegaConf.select(config, "paths") or {}).values()
    return dict(_without(values, sorted((str(path) for path in folders), key=len, reverse=True)))


def _without(value: Any, folders: Sequence[str]) -> Any:
    """A value whose texts hold none of `folders`."""
    if isinstance(value, dict):
        return {key: _without(each, folders) for key, each in value.items()}
    if isinstance(value, list):
        return [_without(each, folders) for each in value]
    if isinstance(value, str):
        for folder in folders:
            value = value.replace(folder, "")
    return value


def _leave_out(config: DictConfig, values: dict[str, Any]) -> None:
    """Removes from the values of a config what no number of its run comes from."""
    if isinstance(values.get(SHEET), dict):
        read = read_sheet_keys(config, SHEET_READS)
        values[SHEET] = {key: value for key, value in values[SHEET].items() if key in read}
    if isinstance(values.get("data"), dict):
        values["data"] = _of_numbers(values["data"])


def _of_numbers(value: Any) -> Any:
    """A part of `data` without the keys that say where or how fast it is read."""
    if not isinstance(value, dict):
        return value
    return {key: _of_numbers(each) for key, each in value.items() if key not in _ONLY_HOW_FAST}


def job_folder(sweep: str, words: str, *, _root_: DictConfig) -> str:
    """The name of a job's folder in the folder `sweep`: the one that its hash has there already, or words and hash."""
    suffix = f"-{job_hash(_root_)}"
    had = sorted(path.name for path in Path(sweep).glob(f"*{suffix}") if path.is_dir())
    return had[0] if had else words + suffix


def sweep_folder(config: DictConfig) -> Path:
    """The folder of a job of a sweep, from its composed config with Hydra's node."""
    return Path(str(config.hydra.sweep.dir)).absolute() / str(config.hydra.sweep.subdir)


def sweep_name(sweep: Any) -> str:
    """The folder of a sweep: its name, or the time it was started when it has none."""
    return _plain(str(sweep)) if sweep is not None else datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def claim_folder(folder: Path) -> Path:
    """Makes `folder`, or `folder-2`, `folder-3` … when it is taken; two processes never get the same one.

    Raises OSError when the folder cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        candidate = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            candidate.mkdir()
        except FileExistsError:
            continue
        return candidate
    raise AssertionError("unreachable: the counter never ends")


def register_resolvers() -> None:
    """Makes `${run_words:…}`, `${job_hash:}`, `${job_folder:…}`, `${sweep_name:…}`, `${project_root:}`, sums known."""
    OmegaConf.register_new_resolver("quotient", quotient, replace=True)
    OmegaConf.register_new_resolver("rest", rest, replace=True)
    OmegaConf.register_new_resolver("run_words", run_words, replace=True)
    OmegaConf.register_new_resolver("job_hash", lambda *, _root_: job_hash(_root_), replace=True)
    OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("project_root", lambda: str(PROJECT_ROOT), replace=True)
