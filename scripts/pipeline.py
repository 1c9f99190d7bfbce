"""Runs a recipe, stage after stage: `python scripts/pipeline.py recipe=mini_r1`; `--help` lists the recipes."""

import sys

from deepseek_lab.command_line import run_command

if __name__ == "__main__":
    sys.exit(run_command("pipeline", "deepseek_lab.pipeline:run", check="deepseek_lab.pipeline:check"))
