"""See `python scripts/convert.py --help`."""

import sys

from deepseek_lab.command_line import run_command

if __name__ == "__main__":
    sys.exit(
        run_command(
            "convert",
            "deepseek_lab.experiment.conversion:convert",
            check="deepseek_lab.experiment.conversion:check_conversion",
        )
    )
