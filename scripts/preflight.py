"""See `python scripts/preflight.py --help`."""

import sys

from deepseek_lab.command_line import run_command

if __name__ == "__main__":
    sys.exit(
        run_command(
            "preflight",
            "deepseek_lab.experiment.preflight:preflight",
            check="deepseek_lab.experiment.preflight:check_preflight",
            stdout_is_the_result=True,
        )
    )
