"""The one way from a script's command line to a function of the project.

`run_command` composes the config with Hydra, checks every job before any of them starts, and turns
each error a person can cause into one line and an exit code. `run_survey` hands all jobs to one
function and starts none. Nothing here imports torch, so `--help`, `--cfg job` and a mistyped name
are answered in about a second.
"""

from deepseek_lab.command_line.entry import answered, run_command
from deepseek_lab.command_line.naming import PROJECT_ROOT, register_resolvers
from deepseek_lab.command_line.survey import run_survey

__all__ = ["PROJECT_ROOT", "answered", "register_resolvers", "run_command", "run_survey"]
