"""What a run would take, without starting it: `python scripts/plan.py experiment=deepseek_v3`; `--help` says more."""

import sys

from deepseek_lab.command_line import run_survey

if __name__ == "__main__":
    sys.exit(
        run_survey(
            "plan",
            "deepseek_lab.experiment.planning:plan",
            sheet_reads="deepseek_lab.experiment.configs:SHEET_READS",
        )
    )
