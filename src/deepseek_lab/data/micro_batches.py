"""How an optimiser step is cut into forward passes: evenly, over ranks and over micro-batches, or not at all.

What the passes hold is the data's own affair (`pretrain`, `row_data`).
"""

from deepseek_lab.config import ConfigError


def micro_batch_size(wanted: int | None, batch_size: int, world_size: int, key: str) -> int:
    """Rows a forward pass; None takes a rank's whole share of the step.

    Raises ConfigError, naming `key`, when a step of `batch_size` cannot be cut evenly.
    """
    size = wanted or max(batch_size // world_size, 1)
    if batch_size % (size * world_size):
        parts = f"{size * world_size}: micro-batches of {size} on {world_size} ranks"
        raise ConfigError(f"({batch_size}) must be a multiple of {parts}", key)
    return size
