"""A model by its name on the Hugging Face hub: its folder in the hub's own cache, fetched when it is not there.

Only what is read here is fetched: JSON, safetensors and templates, never code or pickles. Without a connection
(or with HF_HUB_OFFLINE=1) what the cache holds is taken.
"""

import re
from pathlib import Path

from deepseek_lab.config import DataError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FETCHED = ("*.json", "*.safetensors", "*.jinja")


def is_hub_name(text: str) -> bool:
    """Whether `text` can only be a name on the hub: owner/name, and no such owner is a folder here."""
    return bool(_NAME.fullmatch(text)) and not Path(text.split("/")[0]).exists()


def name_in_cache(path: Path) -> str | None:
    """The name of the model that a folder or file of the hub's cache belongs to."""
    held = re.search(r"models--([^/]+?)--([^/]+)/snapshots/", path.as_posix() + "/")
    return f"{held[1]}/{held[2]}" if held else None


def fetched(name: str) -> Path:
    """The folder of the newest version. Raises DataError, in one line, when it cannot be had."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(name, allow_patterns=list(FETCHED)))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        cause = "the hub cannot be reached, and its cache here does not hold it"
    except HfHubHTTPError as error:
        cause = str(error).strip().splitlines()[0][:160]
    except (OSError, ValueError) as error:
        cause = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160]}"
    raise DataError(f"{name}: no folder here, and as a name on the hub: {cause}")
