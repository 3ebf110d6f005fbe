# One command each. `make help` lists them. Everything is installed into .venv.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS := $(VENV)/.runs
STAMP := $(VENV)/.ready
OUT ?= runs/digits
STUDY ?= runs/study
DATA ?= ../shared/data
# What runs once more without torch: one pass over everything that reads, and what finds out who loads it. The import
# linter keeps torch out of the reach of the rest; `make test-slow` runs all of it so.
READING := tests/test_reading_side.py tests/test_imports.py tests/shells tests/transport/test_solve_known.py
# Rooms with lanes of their own.
ELSEWHERE := $(foreach room,integrations browser docs examples,--ignore tests/$(room))
ALL_READING := tests/core tests/store tests/shells tests/theory tests/forecast tests/report tests/test_imports.py \
  tests/transport/test_solve_known.py tests/closure

.DEFAULT_GOAL := help
.PHONY: help setup run test test-long test-browser test-integrations test-slow test-docs docs atlas check lock bench bench-long bench-data bench-peers clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

setup: $(STAMP)  ## Create .venv with everything that run and test need

# Who runs needs no tools for tests and lint.
$(RUNS): pyproject.toml constraints.txt tools/make_venv.sh
	@bash tools/make_venv.sh "$(PYTHON)" "$(VENV)"
	@touch $@

$(STAMP): $(RUNS)
	@bash tools/make_venv.sh "$(PYTHON)" "$(VENV)" dev
	@touch $@

run: $(RUNS)  ## Main job: train on handwritten digits, measure, analyse, forecast, report (OUT=folder)
	$(BIN)/eigenflow run --out "$(OUT)"
	@echo 'To use the `eigenflow` command in this shell: source $(BIN)/activate'

test: $(STAMP)  ## Nine of ten tests, in minutes, and one pass over the reading side without torch
	$(BIN)/pytest -m "not slow and not long" -n 2 --dist worksteal $(ELSEWHERE)
	EIGENFLOW_WITHOUT_TORCH=1 $(BIN)/pytest -m "not slow and not measure" -n 2 -q $(READING)

test-long: $(STAMP)  ## The tests that take longer than a second each
	$(BIN)/pytest -m "long and not slow" -n 2 --dist worksteal $(ELSEWHERE)

test-integrations: $(STAMP)  ## Trainers, trackers, checkpoints, clusters: each with the real program
	$(BIN)/pytest tests/integrations -m "not slow" -n 2 --dist worksteal

test-browser: $(STAMP)  ## Every page in a real Chromium, which is installed where that is allowed
	@bash tools/get_chromium.sh
	$(BIN)/pytest tests/browser -n 2 --dist loadfile

test-slow: $(STAMP)  ## The long tests, the suite with shapes checked at run time, 100 wrong changes (SEED=0)
	HYPOTHESIS_PROFILE=explore $(BIN)/pytest -m slow
	EIGENFLOW_WITHOUT_TORCH=1 $(BIN)/pytest -m "not slow and not measure" -n 2 -q $(ALL_READING)
	HYPOTHESIS_PROFILE=explore $(BIN)/pytest --jaxtyping-packages=eigenflow,beartype.beartype -m "not rejects and not slow" -n 2
	$(BIN)/python tools/mutate.py --seed $(or $(SEED),0) --count 100 --minutes 30

test-docs: $(STAMP)  ## Every code block of README and docs, every example
	$(BIN)/pytest tests/docs tests/examples -m "not slow" -n 2 --dist worksteal

docs: $(STAMP) $(VENV)/.docs-ready  ## Build the documentation site into docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	@echo 'Open docs/_build/html/index.html'

atlas: $(STAMP)  ## One page of the recorded runs of the study (STUDY=folder; see examples/study.py)
	$(BIN)/python examples/study.py atlas "$(STUDY)"

$(VENV)/.docs-ready: $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt --group docs
	touch $@

check: $(STAMP)  ## Lint, format, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

lock: $(STAMP)  ## Write locks/reading-side.txt anew: exact versions with hashes, for every system and Python
	$(BIN)/python -m pip install --quiet -c constraints.txt --group lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --annotation-style line --custom-compile-command "make lock" \
	  -c constraints.txt pyproject.toml -o locks/reading-side.txt

bench: $(STAMP)  ## Benchmarks of this package alone, minutes; results are written to benchmarks/results
	for name in dense_operator transport_cost closure_convergence risk_maps sgd_modes random_features; do $(BIN)/python benchmarks/$$name.py || exit 1; done

bench-long: $(STAMP)  ## A run of five million parameters, designed schedules in real training: some ten minutes each
	for name in larger_run schedule_design; do $(BIN)/python benchmarks/$$name.py || exit 1; done

bench-data: $(STAMP)  ## Every law on every shared set of curves and tables (DATA=folder); some forty minutes
	for name in forecast_laws early_forecasts size_exponents forecast_scaling; do $(BIN)/python benchmarks/$$name.py --data "$(DATA)" || exit 1; done

bench-peers: $(STAMP)  ## Benchmarks beside the peers, in .venv-peers (over 1.2 GB; Clawpack needs gfortran)
	bash tools/make_venv.sh "$(PYTHON)" .venv-peers dev
	.venv-peers/bin/python -m pip install --quiet -c constraints.txt --group peers
	.venv-peers/bin/python -m pip install --quiet -c constraints.txt --group operator-peers
	for name in transport_peers dense_operator_peers operator_tracking_peers operator_oracles; do \
	  .venv-peers/bin/python benchmarks/$$name.py || exit 1; done

clean:  ## Remove .venv and caches (never a run)
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
