# One command each. `make help` lists them. Everything is installed into .venv.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
OUT ?= runs/digits

.DEFAULT_GOAL := help
.PHONY: help setup run test test-slow check bench clean

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
	EIGENFLOW_WITHOUT_TORCH=1 $(BIN)/pytest -m "not slow and not measure" -q

test-slow: $(STAMP)  ## The long tests, and the suite once more with shapes checked at run time
	HYPOTHESIS_PROFILE=explore $(BIN)/pytest -m slow
	HYPOTHESIS_PROFILE=explore $(BIN)/pytest --jaxtyping-packages=eigenflow,beartype.beartype -m "not rejects and not slow" -n 2

check: $(STAMP)  ## Lint, format, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(STAMP)  ## Benchmarks; results are written to benchmarks/results
	for script in benchmarks/[a-z]*.py; do $(BIN)/python $$script || exit 1; done

clean:  ## Remove .venv and caches (never a run)
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
