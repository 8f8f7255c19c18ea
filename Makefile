# Everything a developer or a continuous-integration job runs. `make help` lists it.

PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
# One file after the other, as collected: those that take long come first (pyproject.toml, testpaths).
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# What an installation depends on: the list of requirements and whatever the native kernel is built from.
SOURCES := pyproject.toml $(wildcard setup.py src/holdfast/crypto/native/*.c src/holdfast/crypto/native/*.h)

.PHONY: help test check interop soak bench demo clean peer
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: check peer ## run every check and every test, interoperation with tahoe-lafs included
	$(PYTEST) -m "not soak"

check: $(VENV)/dev.stamp ## run only the static checks: format, lint, types, import rules, seed rows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/seed_rows.py

interop: $(VENV)/dev.stamp peer ## run only the tests beside the real tahoe-lafs
	$(PYTEST) -m "not soak" tests/interop

soak: $(VENV)/dev.stamp peer ## run all tests with many more examples, and the long ones
	$(PYTEST) --hypothesis-profile=soak --timeout=7200

bench: $(VENV)/dev.stamp peer ## measure Holdfast beside tahoe-lafs on this machine
	$(BIN)/python bench/run.py

demo: $(VENV)/run.stamp ## store and fetch a file on a grid of its own; FILE=path chooses the file
	@$(BIN)/python -m holdfast.cli.demo $(if $(FILE),--file "$(FILE)")

clean: ## remove everything that was built or cached
	rm -rf $(VENV) .cache build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
	find src -name '*.so' -delete

# pip is the last thing that creating an environment installs, so its presence means that it is whole.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit("Holdfast needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear $(VENV)

$(VENV)/run.stamp: $(SOURCES) | $(BIN)/pip
	$(PIP) install --editable .
	@touch $@

$(VENV)/dev.stamp: $(SOURCES) | $(BIN)/pip
	$(PIP) install --editable '.[dev]'
	@touch $(VENV)/run.stamp $@

# The real tahoe-lafs, in an environment of its own; instant once it is there.
peer:
	@$(PYTHON) tests/interop/make_peer_env.py
