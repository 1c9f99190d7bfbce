"""See `python scripts/generate.py --help`."""

import sys

from deepseek_lab.command_line import run_command

if __name__ == "__main__":
    sys.exit(
        run_command(
            "generate",
            "deepseek_lab.experiment.continuation:generate",
            check="deepseek_lab.experiment.continuation:check_generation",
            stdout_is_the_result=True,
        )
    )
