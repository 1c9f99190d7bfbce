# Sourced by quickstart.sh and test.sh: makes .venv, or reuses it, and sets $python to the Python in it.
#
#   . scripts/setup.sh          then      set_up base   (what training needs)
#                                         set_up dev    (the tests and checks as well)
#
# PYTHON=/path/to/python chooses the interpreter that makes .venv. What is installed is noted in
# .venv, last of all, with a hash of pyproject.toml: a second run, or one after an interrupted
# run, does only what is missing. Works with the bash 3.2 of macOS.

find_python() {
    # Prints the first Python >= 3.11 that can make a virtual environment.
    local candidate found=""
    for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3.14 python3 python; do
        [ -n "$candidate" ] || continue
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
        found="$candidate"
        if "$candidate" -c 'import venv, ensurepip' >/dev/null 2>&1; then
            echo "$candidate"
            return 0
        fi
    done
    if [ -n "$found" ]; then
        echo "error: $found has no venv module; install it (Debian, Ubuntu: apt install python3-venv)" >&2
    else
        echo "error: no Python 3.11 or newer found; install one from https://www.python.org/downloads/" >&2
    fi
    return 1
}

has_nvidia_driver() {
    [ -e /proc/driver/nvidia/version ] || nvidia-smi -L >/dev/null 2>&1
}

index_gives_cuda() {
    # Whether the configured package index would bring NVIDIA's libraries with torch.
    "$python" -m pip install --quiet --dry-run --ignore-installed --no-deps --report - "$1" 2>/dev/null |
        "$python" -c '
import json, sys
torch = json.load(sys.stdin)["install"][0]["metadata"]
sys.exit(not any(name.startswith(("nvidia", "cuda", "triton")) for name in torch.get("requires_dist", [])))
' 2>/dev/null
}

torch_releases() {
    # The range of pyproject.toml and each of its minor releases, newest first: torch>=2.13,<2.15 holds 2.14 and 2.13.
    "$python" -c '
import re
below = re.search(r"\"(torch>=(\d+)\.(\d+),<\d+\.(\d+))\"", open("pyproject.toml").read())
print(below[1])
for minor in range(int(below[4]) - 1, int(below[3]) - 1, -1):
    print(f"torch>={below[2]}.{minor},<{below[2]}.{minor + 1}")'
}

install_cpu_torch() {
    # A CUDA build is gigabytes that a machine without the driver cannot use. Asked in turn: whether the package index
    # gives a CPU build by itself, the index of CPU builds, the package index for an older release with one. When none
    # can be had, nothing is installed here and the package index decides.
    local releases newest requirement
    [ "$(uname -s)" = Linux ] || return 0
    has_nvidia_driver && return 0
    "$python" -c 'import torch' >/dev/null 2>&1 && return 0
    releases="$(torch_releases)"
    read -r newest <<<"$releases"
    index_gives_cuda "$newest" || return 0
    echo "setup: no NVIDIA driver; installing the CPU build of torch"
    # shellcheck disable=SC2086
    "$python" -m pip install $pip_quiet --retries 0 --timeout 15 \
        --index-url https://download.pytorch.org/whl/cpu "$newest" && return 0
    for requirement in ${releases#"$newest"}; do
        index_gives_cuda "$requirement" && continue
        # shellcheck disable=SC2086
        "$python" -m pip install $pip_quiet "$requirement" && return 0
    done
    echo "setup: the CPU build cannot be reached; taking the default build (large)"
}

fingerprint() {
    # What an install depends on: the requirements, the interpreter and where the project lies.
    "$python" -c '
import hashlib, pathlib, sys
text = pathlib.Path("pyproject.toml").read_bytes() + sys.version.encode() + str(pathlib.Path.cwd()).encode()
print(hashlib.sha256(text).hexdigest())'
}

set_up() {
    # $1: base or dev. Runs from the project root.
    local wanted="$1" maker note
    python="$PWD/.venv/bin/python"
    pip_quiet="--quiet"
    [ -t 1 ] && pip_quiet=""
    if ! "$python" -m pip --version >/dev/null 2>&1; then
        maker="$(find_python)" || return 1
        echo "setup: making .venv with $("$maker" --version)"
        "$maker" -m venv --clear .venv
    fi
    note="$(fingerprint)"
    if [ "$(cat ".venv/installed-$wanted" 2>/dev/null)" = "$note" ]; then
        echo "setup: .venv is up to date"
        return 0
    fi
    install_cpu_torch
    echo "setup: installing deepseek_lab and what it needs (minutes the first time)"
    # shellcheck disable=SC2086
    if [ "$wanted" = dev ]; then
        "$python" -m pip install $pip_quiet -e '.[dev]'
        echo "$note" >.venv/installed-dev
    else
        "$python" -m pip install $pip_quiet -e .
    fi
    echo "$note" >.venv/installed-base
}
