# `make demo` and `make test` need Python 3.11 to 3.13 and make, nothing else: they create .venv and install the versions of
# constraints.txt into it. pip's own settings (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, pip.conf …) are respected.

VENV ?= .venv
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); [ "$$n" -gt 8 ] && n=8; [ "$$n" -lt 2 ] && n=2; echo $$n)
DEMO_DIR ?= demo

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# One thread per test process: more of them on few cores only wait for each other.
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
PYTEST := $(THREADS) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo test test-all test-gpu bench bench-gpu check format clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.installed  ## train a small BERT, GPT and translator, print one table, write report.html (3 minutes on 2 cores)
	$(BIN)/transformer-zoo demo output=$(DEMO_DIR)

install: $(VENV)/.installed  ## create .venv and install the package with the versions of constraints.txt

install-dev: $(VENV)/.installed-dev  ## the same with what tests and checks need

test: $(VENV)/.installed-dev  ## install, then run the tests
	$(PYTEST) $(ARGS)

test-all: $(VENV)/.installed-dev  ## the tests and those that take long
	$(PYTEST) -m 'not gpu' $(ARGS)

test-gpu: $(VENV)/.installed-dev  ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu $(ARGS)

bench: $(VENV)/.installed-bench  ## measure speed and memory against other packages on this machine: one table, benchmarks/results/speed.json
	$(BIN)/transformer-zoo benchmark $(ARGS)

bench-gpu: $(VENV)/.installed-bench  ## training on a CUDA device: share of its peak, other trainers, what is learned in a fixed time (an hour)
	$(BIN)/transformer-zoo benchmark suite=gpu,gpu_quality device=cuda $(ARGS)

check: $(VENV)/.installed-dev  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev  ## put the code in the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove .venv and caches; runs and studies stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The first Python between 3.11 and 3.13 makes the environment; PYTHON=… names another.
$(BIN)/python:
	@set -e; \
	tried=""; found=""; \
	for candidate in $(or $(PYTHON),python3.11 python3.12 python3.13 python3 python); do \
		command -v $$candidate >/dev/null 2>&1 || continue; \
		tried="$$tried $$candidate ($$($$candidate -c 'import platform; print(platform.python_version())' 2>/dev/null || echo broken))"; \
		if $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "make: Python 3.11, 3.12 or 3.13 is needed; found:$${tried:- none}. Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	if ! $$found -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "make: $$found cannot create environments (no venv or ensurepip): install it (Debian, Ubuntu: apt install $$($$found -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'))" >&2; exit 1; \
	fi; \
	echo "$$found -m venv $(VENV)"; $$found -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable '.[test,check]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-bench: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable '.[bench]'
	@touch $(VENV)/.installed $@
