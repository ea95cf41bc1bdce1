PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# a compiled, editable install; "compat" keeps the .pxd files visible to Cython
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--config-settings editable_mode=compat --editable
SOURCES := setup.py pyproject.toml $(wildcard skce/*.pyx skce/*.pxd skce/*.h skce/*.inc)

.PHONY: demo test lint bench docs debug-test clean

demo: $(VENV)/plot
	$(BIN)/python examples/demo.py

test: $(VENV)/test
	$(BIN)/python -m pytest --cov --cov-report=term

lint: $(VENV)/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(BIN):$$PATH" cython-lint skce  # it calls pycodestyle
	$(BIN)/mypy
	$(BIN)/python -m numpydoc.hooks.validate_docstrings skce/*.py

bench: $(VENV)/bench
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/epoch.py
	$(BIN)/python benchmarks/predict.py
	$(BIN)/python benchmarks/run_peers.py

docs: $(VENV)/docs
	$(BIN)/python -m sphinx -W -b html docs docs/_build/html

# the kernels' tests on a build with bounds checks and C assertions, in a copy
debug-test: $(VENV)/test
	rm -rf build/debug && mkdir -p build/debug
	cp -r setup.py pyproject.toml README.md LICENSE skce tests build/debug
	rm -f build/debug/skce/*.so
	cd build/debug && SKCE_DEBUG=1 CFLAGS=-w ../../$(BIN)/python setup.py --quiet build_ext --inplace
	cd build/debug && PYTHONPATH=. ../../$(BIN)/python -m pytest -q tests/test_losses.py tests/test_sgd.py

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# one stamp for each extra: installed again when a compiled source or the metadata changes
$(VENV)/%: $(BIN)/python $(SOURCES)
	$(INSTALL) ".[$*]"
	touch $@

clean:
	rm -rf build $(VENV) skce/*.so docs/_build docs/api
