# `make sweep` and `make test` make their own environment; nothing else is needed but Python 3.11 or later.
# On a machine without a GPU they install the CPU build of torch where the package index in use has one;
# TORCH=default installs the default build.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STYLE  := $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports
# Two processes, one thread each: two of two threads on two cores wait for each other. Compiled modules are kept, whatever
# the environment says: each process would compile the package and its tests anew, which takes it ten seconds.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal

sweep: $(VENV)/installed     ## the rank sweep: search, table, pictures
	$(BIN)/python -m harness +experiment=sst2_rank_sweep

check: $(VENV)/tested        ## style, types, import contract, and the tests that neither train nor start processes
	$(STYLE)
	$(PYTEST) -m 'not slow and not cluster'

test: $(VENV)/tested         ## style, types, import contract, and every test but those of a cluster
	$(STYLE)
	$(PYTEST)

test-cluster: $(VENV)/tested ## the tests with a real PostgreSQL and a real SLURM: apt-get install postgresql slurm-wlm munge
	$(BIN)/python -m pytest -m cluster -rs

test-browser: $(VENV)/tested ## the tests of pages in a real headless Chromium, which `make test` leaves out where there is none
	$(BIN)/python -m pytest -rs tests/report/test_html_browser.py tests/test_watch.py

test-gpu: $(VENV)/tested     ## on a machine with a GPU: what a GPU alone can show, then the tests of trials, trained on it
	$(PYTEST) -m gpu -rs tests/gpu
	HARNESS_TEST_ACCELERATOR=gpu $(PYTEST) tests/trial tests/training tests/test_allocate.py tests/test_repeat.py

bench-gpu: $(VENV)/tested    ## steps and studies side by side with PEFT and transformers' Trainer; DRY=--dry: to see that it runs
	$(BIN)/python -m benchmarks.steps $(DRY)
	$(BIN)/python -m benchmarks.study --ways 1,4,1x8,4x8 --trials 32 $(DRY)

benchmark: $(VENV)/installed ## the training loop over a bare one; a step of ours and of PEFT's; many adapters on one base
	$(BIN)/python benchmarks/loop_overhead.py
	$(BIN)/python benchmarks/against_peft.py
	$(BIN)/python benchmarks/many_adapters.py

faults: $(VENV)/tested       ## workers killed, stopped, out of disk and database: half an hour; then how many workers one study can have
	$(BIN)/python -m benchmarks.faults
	$(BIN)/python -m benchmarks.load

results: $(VENV)/tested      ## the studies behind README and docs, made anew: a day on 2 cores; stopped, it goes on
	$(BIN)/python -m tools.curate $(NAMES)

docs: .venv-docs/installed   ## the documentation as a site: build/site/index.html
	.venv-docs/bin/python docs/stage.py build/docs
	.venv-docs/bin/zensical build --clean --strict

lock: $(VENV)/tested         ## write down the versions that are installed
	$(BIN)/python -m pip freeze --exclude-editable | grep -v -i '^pip==' > requirements.lock

$(VENV)/installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python tools/constraints.py torch > $(VENV)/constraints.txt
	$(BIN)/python -m pip install --quiet --constraint $(VENV)/constraints.txt --editable .
	touch $@

$(VENV)/tested: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python tools/constraints.py torch torchvision > $(VENV)/constraints.txt
	$(BIN)/python -m pip install --quiet --constraint $(VENV)/constraints.txt --editable '.[test]'
	touch $@ $(VENV)/installed

.venv-docs/installed: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet 'zensical>=0.0.73,<0.2'
	touch $@

.PHONY: sweep check test test-cluster test-browser test-gpu bench-gpu benchmark faults results docs lock
