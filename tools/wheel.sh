#!/usr/bin/env bash
# The sdist, and from it a wheel for one Python, repaired, installed into an empty environment and
# tried there: the laws of the losses and estimators, an extension that cimports the kernels of the
# installed package, and the demo.
#
#     tools/wheel.sh [python3.13]
#
# All of it is in build/wheel; auditwheel needs patchelf >= 0.14.5.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(command -v "${1:-python3}")
folder=$PWD/build/wheel
rm -rf "$folder" && mkdir -p "$folder"
"$python" -m venv "$folder/tools"
export PATH="$folder/tools/bin:$PATH"
pip install --quiet build auditwheel twine patchelf
pyproject-build --outdir "$folder" . > "$folder/build.log"
twine check "$folder"/skce-*
auditwheel show "$folder"/*.whl
auditwheel repair --wheel-dir "$folder/repaired" "$folder"/*.whl

"$python" -m venv "$folder/empty"
export PATH="$folder/empty/bin:$PATH"
pip install --quiet "$folder"/repaired/*.whl
cd "$folder"
python -c "import skce; skce.show_versions()"
pip install --quiet pytest mpmath hypothesis Cython "setuptools>=77" matplotlib
tar xf skce-*.tar.gz --strip-components 1 --wildcards "*/tests" "*/examples" "*/pyproject.toml"
python -m pytest -q -m "not long" tests/test_losses.py tests/test_losses_arguments.py tests/test_engine_sgd.py tests/test_common.py \
    tests/test_package.py tests/test_estimators_multinomial.py tests/test_estimators_multilabel.py \
    tests/test_estimators_label_predictions.py
python examples/demo.py --out demo.png
