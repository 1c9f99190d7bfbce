#!/usr/bin/env bash
# From a fresh machine to an answer: sets up, trains four kinds of attention on the same real text
# and the same budget, and prints one table. Overrides may follow: scripts/quickstart.sh trainer.max_steps=100
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/setup.sh
set_up base
# One seed and the sheet's own widths: a minute a run. `ablation=attention` alone takes three seeds at equal parameters.
# The second command trains the baseline again from another seed: a difference between two variants
# means something only when it is larger than the one between two seeds.
"$python" scripts/train.py experiment=quickstart ablation=attention seed=1 match=none sweep=quickstart sweep_report=false "$@"
"$python" scripts/train.py -m experiment=quickstart attention=mha seed=2 sweep=quickstart sweep_report=false "$@"
"$python" scripts/report.py runs=logs/pretrain/multiruns/quickstart baseline=mha
