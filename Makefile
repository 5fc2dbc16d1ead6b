# make demo | test | check | bench | lock      every target sets up what it needs first, once
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TAG    := $(shell $(PYTHON) -c 'import sys; print("py%d%d" % sys.version_info[:2])')
LOCK   := requirements/dev-$(TAG).txt
BUDGET ?= 60
READY  := $(VENV)/.ready-$(TAG)

export RAY_USAGE_STATS_ENABLED := 0

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fix bench lock clean

help:
	@sed -n 's/^# make /make /p' Makefile

setup: $(READY)

$(READY): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than 3.11; say PYTHON=python3.11 or newer"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv && $(PYTHON) -m venv --clear $(VENV); }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep -o '^uv==[^ ]*' $(LOCK))
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python $(LOCK)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: setup
	@$(BIN)/keyart demo

test: check
	@$(BIN)/python -m pytest -m "not slow"

check: setup
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/basedpyright --level error
	@$(BIN)/python -m benchmarks.quoted

# POSTERS=folder of real ones, BUDGET=minutes; results of an earlier run stay what they are compared with.
bench: setup
	@$(BIN)/keyart bench all keyart-bench --budget $(BUDGET) $(if $(POSTERS),--posters $(POSTERS))
	@$(BIN)/keyart bench compare docs/results keyart-bench

fix: setup
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

# New locked files, one for each Python, without index addresses.
lock: setup
	@for version in 3.11 3.12; do \
	  $(BIN)/uv pip compile pyproject.toml --group dev --constraint requirements/constraints.txt --generate-hashes \
	    --no-emit-index-url --python-version $$version --python-platform x86_64-manylinux_2_28 $(if $(UPGRADE),--upgrade) --quiet \
	    --custom-compile-command "make lock" --output-file requirements/dev-py$$(echo $$version | tr -d .).txt; \
	done

clean:
	rm -rf $(VENV) keyart-demo
