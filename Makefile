# One command each. `make help` lists them. Everything is installed into .venv.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
OUT ?= runs/digits
# What the lane without torch runs: every room of the reading side; of the solvers, their known answers.
READING := tests/core tests/store tests/shells tests/theory tests/forecast tests/report tests/test_imports.py \
  tests/transport/test_solve_known.py tests/transport/test_closure.py

.DEFAULT_GOAL := help
.PHONY: help setup run test test-slow check bench bench-peers clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP)  ## Create .venv with everything that run and test need

$(STAMP): pyproject.toml constraints.txt tools/make_venv.sh
	bash tools/make_venv.sh "$(PYTHON)" "$(VENV)"
	touch $@

run: $(STAMP)  ## Main job: train on handwritten digits, measure, analyse, forecast, report (OUT=folder)
	$(BIN)/eigenflow run --out "$(OUT)"

test: $(STAMP)  ## The test suite (under five minutes on two cores), and the reading side without torch
	$(BIN)/pytest -m "not slow" -n 2 --dist worksteal
	EIGENFLOW_WITHOUT_TORCH=1 $(BIN)/pytest -m "not slow and not measure" -n 2 -q $(READING)

test-slow: $(STAMP)  ## The long tests, and the suite once more with shapes checked at run time
	HYPOTHESIS_PROFILE=explore $(BIN)/pytest -m slow
	HYPOTHESIS_PROFILE=explore $(BIN)/pytest --jaxtyping-packages=eigenflow,beartype.beartype -m "not rejects and not slow" -n 2

check: $(STAMP)  ## Lint, format, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(STAMP)  ## Benchmarks of this package alone; results are written to benchmarks/results
	for script in $(filter-out %_peers.py,$(wildcard benchmarks/[a-z]*.py)); do $(BIN)/python $$script || exit 1; done

bench-peers: $(STAMP)  ## Benchmarks beside the peers, in .venv-peers (1.2 GB; Clawpack needs gfortran)
	bash tools/make_venv.sh "$(PYTHON)" .venv-peers
	.venv-peers/bin/python -m pip install --quiet -c constraints.txt --group peers
	for script in benchmarks/[a-z]*_peers.py; do .venv-peers/bin/python $$script || exit 1; done

clean:  ## Remove .venv and caches (never a run)
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
