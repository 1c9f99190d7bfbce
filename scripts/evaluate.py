"""See `python scripts/evaluate.py --help`."""

import sys

from deepseek_lab.command_line import run_command

if __name__ == "__main__":
    sys.exit(
        run_command(
            "evaluate",
            "deepseek_lab.experiment.evaluation:evaluate",
            check="deepseek_lab.experiment.evaluation:check_evaluation",
            stdout_is_the_result=True,
        )
    )
