"""Compares finished runs: `python scripts/report.py runs=FOLDER`; `--help` says more."""

import sys

from deepseek_lab.command_line import run_command

if __name__ == "__main__":
    sys.exit(run_command("report", "deepseek_lab.report:report"))
