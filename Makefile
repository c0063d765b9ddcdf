# `make` lists the targets. Everything happens in .venv, which `make setup` makes from the lock file.

PYTHON ?=# interpreter for .venv; found by scripts/setup when empty
ARGS ?=
BIN := .venv/bin

# A company network may sign with a certificate of its own: trust what the system trusts.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export UV_SYSTEM_CERTS ?= true
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test check format bench clean

help: ## this list
	@echo 'Usage: make TARGET [ARGS="..."] [PYTHON=python3.12]'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' Makefile

setup: .venv/.synced ## install everything into .venv

# The stamp is written last: a setup that was interrupted runs again, and takes up what is there.
.venv/.synced: pyproject.toml uv.lock scripts/setup
	@PYTHON='$(PYTHON)' scripts/setup
	@touch $@

# `exec`: Ctrl-C reaches the program itself, and make waits until it has stopped its children.
demo: .venv/.synced ## the main job on the embedded stack; ARGS="--serve" stays up
	@exec $(BIN)/preempt demo $(ARGS)

test: .venv/.synced ## all tests; ARGS="tests/features -k window" for some
	@exec $(BIN)/pytest $(ARGS)

check: .venv/.synced ## format, lint, types, layering, lock file
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/uv lock --check

format: .venv/.synced ## format the code, mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.synced ## the benchmarks, JSON on stdout
	$(BIN)/preempt bench features --json
	$(BIN)/preempt bench stream --json
	$(BIN)/python benchmarks/embedded_brokers.py
	$(BIN)/python -m benchmarks.feature_engines
	$(BIN)/python -m benchmarks.feature_growth
	$(BIN)/python -m benchmarks.lists

clean: ## remove .venv and caches; the data folder stays
	rm -rf .venv .cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
