"""Trains one model, or with -m several: `python scripts/train.py attention=mla ffn=moe`; `--help` lists the choices."""

import sys

from deepseek_lab.command_line import run_command

if __name__ == "__main__":
    sys.exit(
        run_command(
            "train",
            "deepseek_lab.experiment:train",
            check="deepseek_lab.experiment:check",
            sheet_reads="deepseek_lab.experiment.configs:SHEET_READS",
        )
    )
