PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# a compiled, editable install; "compat" keeps the .pxd files visible to Cython
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--config-settings editable_mode=compat --editable
SOURCES := setup.py pyproject.toml $(wildcard skce/*.pyx skce/*.pxd skce/*.h skce/*.inc)

.PHONY: demo test lint bench docs debug-test level-test sanitize no-openmp-test clean

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
	$(BIN)/python benchmarks/run_peers.py --defaults

docs: $(VENV)/docs
	$(BIN)/python -m sphinx -W -b html docs docs/_build/html

# a copy of the sources for another build
define COPY
rm -rf build/$(1) && mkdir -p build/$(1)
cp -r setup.py pyproject.toml README.md LICENSE skce tests tools build/$(1)
rm -f build/$(1)/skce/*.so
endef
KERNEL_TESTS := tests/test_losses.py tests/test_sgd.py

# the kernels' tests on a build with bounds checks and C assertions, in a copy
debug-test: $(VENV)/test
	$(call COPY,debug)
	cd build/debug && SKCE_DEBUG=1 CFLAGS=-w ../../$(BIN)/python setup.py --quiet build_ext --inplace
	cd build/debug && PYTHONPATH=. ../../$(BIN)/python -m pytest -q $(KERNEL_TESTS)

# the kernels' tests once for each CPU level of this machine
level-test: $(VENV)/test
	tools/levels.sh $(BIN)/python -m pytest -q -x $(KERNEL_TESTS) tests/test_simd.py

# the debug build again, with the address and undefined behaviour sanitizers of gcc. The interpreter
# has none, so their libraries are preloaded, before them nothing; libstdc++ for the exceptions of SciPy
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
sanitize: $(VENV)/test
	$(call COPY,sanitize)
	cd build/sanitize && SKCE_DEBUG=1 CC=gcc CFLAGS="-w $(SANITIZE)" LDFLAGS="$(SANITIZE)" \
		../../$(BIN)/python setup.py --quiet build_ext --inplace -j2
	cd build/sanitize && export PYTHONPATH=$$PWD PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 \
		UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
		LD_PRELOAD="$(foreach lib,asan ubsan stdc++,$$(gcc -print-file-name=lib$(lib).so))" \
		&& tools/levels.sh ../../$(BIN)/python -m pytest -q $(KERNEL_TESTS) tests/test_robustness.py \
		&& ../../$(BIN)/python -m pytest -q tests/test_gradient.py tests/test_sdca.py

# the tests of kernels and estimators on a build without OpenMP
no-openmp-test: $(VENV)/test
	$(call COPY,no-openmp)
	cd build/no-openmp && SKCE_OPENMP=0 ../../$(BIN)/python setup.py --quiet build_ext --inplace -j2
	cd build/no-openmp && PYTHONPATH=$$PWD ../../$(BIN)/python -c \
		"from skce._cpu import max_threads; assert max_threads() == 0, 'built with OpenMP'"
	cd build/no-openmp && PYTHONPATH=$$PWD ../../$(BIN)/python -m pytest -q $(KERNEL_TESTS) \
		tests/test_robustness.py tests/test_base.py tests/test_multinomial.py tests/test_multilabel.py

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# one stamp for each extra: installed again when a compiled source or the metadata changes
$(VENV)/%: $(BIN)/python $(SOURCES)
	$(INSTALL) ".[$*]"
	touch $@

clean:
	rm -rf build $(VENV) skce/*.so docs/_build docs/api
