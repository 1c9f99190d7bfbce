#!/usr/bin/env bash
# From a fresh machine to an answer: sets up, trains four kinds of attention on the same real text
# and the same budget, and prints one table. Overrides may follow: scripts/quickstart.sh trainer.max_steps=100
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/setup.sh
set_up base
"$python" scripts/train.py ablation=attention sweep=quickstart "$@"
"$python" scripts/report.py runs=logs/pretrain/multiruns/quickstart
