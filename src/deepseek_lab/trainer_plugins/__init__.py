"""What the Trainer is given besides a stage: checkpoint files, loggers, the form of its loop state."""
