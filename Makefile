# The two commands of this project. Both make their own environment; nothing else is needed but Python 3.11 or later.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

sweep: $(VENV)/installed     ## the rank sweep: search, table, pictures
	$(BIN)/python -m harness +experiment=sst2_rank_sweep

test: $(VENV)/tested         ## style, types, import contract, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest

test-cluster: $(VENV)/tested ## the tests with a real PostgreSQL and a real SLURM: apt-get install postgresql slurm-wlm munge
	$(BIN)/python -m pytest -m cluster -rs

benchmark: $(VENV)/installed ## Lightning over a bare loop; a step of ours and of PEFT's; many adapters on one base
	$(BIN)/python benchmarks/lightning_overhead.py
	$(BIN)/python benchmarks/against_peft.py
	$(BIN)/python benchmarks/many_adapters.py

faults: $(VENV)/tested       ## workers killed, stopped, out of disk and database: half an hour; then how many a study bears
	$(BIN)/python -m benchmarks.faults
	$(BIN)/python -m benchmarks.load

lock: $(VENV)/tested         ## write down the versions that are installed
	$(BIN)/python -m pip freeze --exclude-editable | grep -v -i '^pip==' > requirements.lock

$(VENV)/installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable .
	touch $@

$(VENV)/tested: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[test]'
	touch $@ $(VENV)/installed

.PHONY: sweep test test-cluster benchmark faults lock
