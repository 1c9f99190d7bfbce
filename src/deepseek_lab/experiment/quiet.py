"""What Lightning and FSDP2 say of themselves, which says nothing of a run."""

import logging
import warnings


def quiet_lightning() -> None:
    """Lightning's start-up lines (devices, advertisements, its own deprecations) say nothing of this run.

    FSDP2 warns of views that a model returns (routing statistics): nothing here changes them in place.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*treespec.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*returned a view tensor.*")
