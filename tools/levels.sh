#!/usr/bin/env bash
# Run a command at each CPU level below this machine's, at which everything else runs. Its first
# word is a Python that has skce:
#   tools/levels.sh python -m pytest -q tests/test_losses.py
set -euo pipefail
unset SKCE_CPU_LEVEL
code='from skce._kernels.cpu import LEVELS, level; print(*LEVELS[: LEVELS.index(level)])'
levels=$("$1" -c "$code")
for level in $levels; do
    echo "== SKCE_CPU_LEVEL=$level =="
    SKCE_CPU_LEVEL=$level "$@"
done
