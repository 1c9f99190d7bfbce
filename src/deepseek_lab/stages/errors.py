"""The ways a training run ends early; each is one line for a person.

`on_every_rank`: all ranks raise it together, so one of them says it.
"""


class TrainingError(RuntimeError):
    """Training cannot go on (a loss that is not a number); exit code 1. The last checkpoint is kept."""

    on_every_rank = True


class Interrupted(RuntimeError):
    """A signal asked to stop (Ctrl-C): the state of a finished step is saved, and the line says how to go on."""

    on_every_rank = True


class LostRank(RuntimeError):
    """Another process of the run is gone or cannot be reached; exit code 1. The last checkpoint is kept."""


class DiskRefused(RuntimeError):
    """The disk is full or refuses a write; exit code 1. The line says which file, what is kept and how to go on."""
