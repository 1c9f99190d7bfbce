"""See `python scripts/inspect_checkpoint.py --help`."""

import sys

from deepseek_lab.command_line import run_command

if __name__ == "__main__":
    sys.exit(
        run_command(
            "inspect_checkpoint",
            "deepseek_lab.experiment.inspection:inspect",
            check="deepseek_lab.experiment.inspection:check_inspection",
            stdout_is_the_result=True,
        )
    )
