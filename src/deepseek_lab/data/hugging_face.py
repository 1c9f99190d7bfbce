"""The `datasets` library, made silent: what goes wrong comes as an exception and is said in one line."""

import logging
from typing import Any


def datasets_library() -> Any:
    """The module, imported when it is first needed: it takes a second."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)
    return datasets
