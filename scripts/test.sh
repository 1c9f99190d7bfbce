#!/usr/bin/env bash
# Every check of the project: style, types, tests.
#   scripts/test.sh                    all of them
#   scripts/test.sh slow               the tests that take minutes instead of the fast ones
#   scripts/test.sh tests/model -x     what follows goes to pytest
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/setup.sh
set_up dev
if [ "${1:-}" = slow ]; then
    shift
    set -- -m slow "$@"
elif [ $# -eq 0 ]; then
    # A few at a time, in stretches of neighbours that share what a module prepares; slow ones alone, for they start
    # processes and measure.
    cores="$(nproc 2>/dev/null || sysctl -n hw.ncpu)"
    set -- -n "$((cores < 4 ? cores : 4))" --dist worksteal
fi
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
"$python" -m pytest "$@"
