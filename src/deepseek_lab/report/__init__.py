"""Tables and figures from finished runs: `write_report(folder)`, and `report` for scripts/report.py.

A report reads `summary.json` and `metrics.jsonl` of each run and no event file, so it needs no torch
and answers in about a second.
"""

from deepseek_lab.report.command import report
from deepseek_lab.report.writing import Report, write_report

__all__ = ["Report", "report", "write_report"]
