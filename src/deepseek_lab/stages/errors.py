"""The ways a training run ends early; each is one line for a person."""


class TrainingError(RuntimeError):
    """Training cannot go on (a loss that is not a number); exit code 1. The last checkpoint is kept."""


class Interrupted(RuntimeError):
    """Ctrl-C or SIGTERM: the state of a finished step is saved, and the line says how to go on."""
