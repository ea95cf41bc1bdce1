#!/usr/bin/env bash
# Run a command once for each CPU level of this machine. Its first word is a Python that has skce:
#   tools/levels.sh python -m pytest -q tests/test_losses.py
set -euo pipefail
unset SKCE_CPU_LEVEL
code='from skce._kernels.cpu import LEVELS, level; print(*LEVELS[: LEVELS.index(level) + 1])'
levels=$("$1" -c "$code")
for level in $levels; do
    echo "== SKCE_CPU_LEVEL=$level =="
    SKCE_CPU_LEVEL=$level "$@"
done
