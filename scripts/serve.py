"""See `python scripts/serve.py --help`."""

import sys

from deepseek_lab.command_line import run_command

if __name__ == "__main__":
    sys.exit(run_command("serve", "deepseek_lab.serving.serve:serve", check="deepseek_lab.serving.serve:check_serving"))
