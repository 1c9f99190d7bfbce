"""What the Trainer is given besides a stage: checkpoint files and loggers."""
