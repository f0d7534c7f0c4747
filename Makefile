# What can be done here; `make` alone lists it. Each target first makes the virtual environment
# that it needs, .venv: nothing is installed outside this directory (guest-test keeps a cache).

PYTHON ?= python3
PYTEST_ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help demo test guest-test bench lint clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: .venv/.runtime  ## forward a real capture through two emulated 82599s, and compare
	@$(BIN)/python examples/demo.py

test: .venv/.test  ## run the tests, compiled and again as plain Python (PYTEST_ARGS=...)
	$(BIN)/python -m pytest $(PYTEST_ARGS)
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -m "not compiled" $(PYTEST_ARGS)

guest-test: .venv/.test  ## let Linux in virtual machines judge, as root (keeps 1.3 GB in ~/.cache)
	$(BIN)/python tests/guest/cache.py
	$(BIN)/python -m pytest tests/guest $(PYTEST_ARGS)

bench: .venv/.runtime  ## measure the figures of the README on this machine
	$(BIN)/ixy bench all

lint: .venv/.test  ## check style, types, import floors and sizes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/check_floors.py
	$(BIN)/python tools/check_size.py

clean:  ## remove everything that was made here
	rm -rf .venv .demo build dist src/*.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# Stamps: a file that says which dependencies the environment holds.
.venv/.runtime: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ixy needs Python 3.11 or newer: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv: apt install python3-venv" >&2; exit 1; }
	@echo "installing ixy into .venv"
	@$(PYTHON) -m venv .venv
	@$(PIP) --editable .
	@touch $@

.venv/.test: .venv/.runtime
	@echo "installing what the tests need into .venv"
	@$(PIP) --editable '.[test,lint]'
	@touch $@
