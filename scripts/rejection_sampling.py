"""Keeps a model's own right answers as data to fine-tune on; see `--help`."""

import sys

from deepseek_lab.command_line import run_command

if __name__ == "__main__":
    sys.exit(
        run_command(
            "rejection_sampling",
            "deepseek_lab.pipeline.rejection_sampling:sample",
            check="deepseek_lab.pipeline.rejection_sampling:check",
        )
    )
