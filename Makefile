PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
SOURCES := setup.py $(wildcard skce/*/*.pyx skce/*/*.pxd skce/_kernels/c/*)
# lists of requirements in pyproject.toml, one a line; build is what compiling and importing skce need
REQUIREMENTS = $(BIN)/python -c 'import sys, tomllib; \
	project = tomllib.load(open("pyproject.toml", "rb")); \
	lists = {"build": project["build-system"]["requires"] + project["project"]["dependencies"]}; \
	lists |= project["project"]["optional-dependencies"]; \
	print(*lists[sys.argv[1]], sep="\n")'
PYTEST := $(BIN)/python -m pytest -q -n logical

.PHONY: demo test test-all lint bench figures docs debug-test level-test sanitize no-openmp-test clean

# a worker of pytest on each core: their OpenMP threads have to sleep while they wait
test test-all debug-test level-test sanitize no-openmp-test: export OMP_WAIT_POLICY := passive

demo: $(VENV)/plot
	$(BIN)/python examples/demo.py

# every law on every loss, dtype and storage
test: $(VENV)/test
	$(PYTEST) -m "not long"

# the remainder: more seeds and sizes, thousands of random fits
test-all: test
	$(PYTEST) -m long

lint: $(VENV)/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(BIN):$$PATH" cython-lint skce  # it calls pycodestyle
	$(BIN)/mypy
	$(BIN)/stubtest --ignore-missing-stub $(subst /,.,$(basename $(wildcard skce/*/*.pyi)))
	$(BIN)/python -m numpydoc.hooks.validate_docstrings skce/*.py skce/*/*.py

bench: $(VENV)/bench
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/epoch.py
	$(BIN)/python benchmarks/predict.py
	$(BIN)/python benchmarks/run_peers.py --defaults
	$(BIN)/python benchmarks/user_clock.py
	$(BIN)/python benchmarks/small.py
	$(BIN)/python benchmarks/tasks.py

# -E: a page that is not read again would lose its words of the index in the search
# the tables and figures of the pages made anew: hours, on a free machine, with the data sets in DATA
figures: export OMP_NUM_THREADS := 1
figures: $(VENV)/bench $(VENV)/peers $(VENV)/dask $(VENV)/boosting $(VENV)/test
	$(BIN)/python benchmarks/kernels.py --clock cpu --threads 1 --size 1e6 --rounds 5 --write docs/speed
	$(BIN)/python benchmarks/boosting.py --clock cpu --write docs/boosting.csv
	$(BIN)/python benchmarks/tasks.py --data $(DATA) --write docs/tasks
	$(BIN)/python benchmarks/run_peers.py --data $(DATA) --write docs/fits
	$(BIN)/python benchmarks/estimates.py --from 200000 --write docs/estimates.csv
	$(BIN)/python benchmarks/left_out.py --write docs/selection
	$(BIN)/python benchmarks/stopped_early.py --write docs/selection
	$(BIN)/python benchmarks/selection.py --data $(DATA) --rounds 2 --budget 15 --write docs/selection
	$(BIN)/python benchmarks/streams.py --data $(DATA) --sets mnist brown_pos --calls 10000 \
		--learners skce "skce, averaged" "skce, AdaGrad" --write docs/streams/rules.csv
	$(BIN)/python benchmarks/parts.py --gigabytes 8 --write docs/streams/parts.csv \
		--ways "in memory" "one memory map" "parts of memory maps"
	$(BIN)/python benchmarks/parts.py --gigabytes 2 --memory 2 --write docs/streams/parquet.csv \
		--ways "in memory" "parts of memory maps" "Parquet by columns" "Parquet of lists"
	$(BIN)/python benchmarks/dask_rounds.py --data $(DATA) --seeds 1 --write docs/dask
	$(BIN)/python benchmarks/dask_rounds.py --data $(DATA) --seeds 1 --sets covtype --times 16 \
		--partitions 2 --write docs/dask
	$(BIN)/python benchmarks/many_labels.py --data $(DATA) --sets citeulike_t --write docs/many_labels
	$(BIN)/python benchmarks/many_labels.py --sets synthetic --labels 10000 --write docs/many_labels

docs: $(VENV)/docs
	$(BIN)/python -m sphinx -E -W -b html docs docs/_build/html

# a copy of the sources for another build
define COPY
rm -rf build/$(1) && mkdir -p build/$(1)
cp -r setup.py pyproject.toml README.md LICENSE skce tests tools build/$(1)
rm -f build/$(1)/skce/*.so build/$(1)/skce/*/*.so
endef
BUILD_COPY := ../../$(BIN)/python setup.py --quiet build_ext --inplace
KERNEL_TESTS := $(addprefix tests/test_, losses.py losses_arguments.py losses_proba.py engine_sgd.py)

# the kernels' tests on a build with bounds checks and C assertions, in a copy
debug-test: $(VENV)/test
	$(call COPY,debug)
	cd build/debug && SKCE_DEBUG=1 CFLAGS=-w $(BUILD_COPY)
	cd build/debug && PYTHONPATH=. ../../$(PYTEST) $(KERNEL_TESTS)

# the kernels' tests at each CPU level below this machine's, which is that of all other tests
level-test: $(VENV)/test
	tools/levels.sh $(PYTEST) -x $(KERNEL_TESTS) tests/test_kernels_simd.py

# the debug build again, with the address and undefined behaviour sanitizers of gcc. The interpreter
# has none, so their libraries are preloaded, before them nothing; libstdc++ for the exceptions of SciPy
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
sanitize: $(VENV)/test
	$(call COPY,sanitize)
	cd build/sanitize && SKCE_DEBUG=1 CC=gcc CFLAGS="-w $(SANITIZE)" LDFLAGS="$(SANITIZE)" $(BUILD_COPY)
	cd build/sanitize && export PYTHONPATH=$$PWD PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 \
		UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
		LD_PRELOAD="$(foreach lib,asan ubsan stdc++,$$(gcc -print-file-name=lib$(lib).so))" \
		&& ../../$(PYTEST) $(KERNEL_TESTS) tests/test_robustness.py \
		&& ../../$(PYTEST) -m "not long" tests/test_engine_passes.py tests/test_engine_sdca.py

# the tests of kernels and estimators on a build without OpenMP
no-openmp-test: $(VENV)/test
	$(call COPY,no-openmp)
	cd build/no-openmp && SKCE_OPENMP=0 $(BUILD_COPY)
	cd build/no-openmp && PYTHONPATH=$$PWD ../../$(BIN)/python -c \
		"from skce._kernels.cpu import max_threads; assert max_threads() == 0, 'built with OpenMP'"
	cd build/no-openmp && PYTHONPATH=$$PWD ../../$(PYTEST) $(KERNEL_TESTS) \
		tests/test_robustness.py tests/test_estimators_base.py

$(BIN)/python:
	@echo "== $(VENV): a virtual environment of $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/build: $(BIN)/python pyproject.toml
	@echo "== installing what skce is built with and runs on"
	@$(REQUIREMENTS) build | $(PIP) install -r /dev/stdin
	@touch $@

# The one compile: in place, what changed, on all cores. An editable install by pip would compile all
# of it again; a .pth file beside the metadata is what it leaves behind, and all that Cython looks for.
$(VENV)/skce: $(VENV)/build $(SOURCES)
	@echo "== compiling skce: half a minute on two cores, less after an edit"
	@$(if $(filter setup.py,$?),rm -rf build/cython)  # the flags may have changed
	@$(BIN)/python setup.py --quiet egg_info build_ext --inplace
	@$(BIN)/python -c 'import os, site; \
		print(os.getcwd(), file=open(site.getsitepackages()[0] + "/skce.pth", "w"))'
	@touch $@

# one stamp for each extra, whose packages alone are installed
$(VENV)/%: pyproject.toml | $(VENV)/skce
	@echo "== installing the extra '$*'"
	@$(REQUIREMENTS) $* | $(PIP) install -r /dev/stdin
	@touch $@

clean:
	rm -rf build $(VENV) skce/*.so skce/*/*.so docs/_build docs/api docs/gallery
