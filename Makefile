# All targets work from a fresh clone: the first one builds .venv from the pins in constraints.txt.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
TIERENV := $(BIN)/tierenv
STAMP := .venv/.installed
TYPES := build/types

.PHONY: help demo test lint types check results results-kernel-c

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

demo: $(STAMP) ## the product in a minute
	$(TIERENV) --help

results: $(STAMP) ## regenerate every table; resumes where it stopped
	$(TIERENV) --help

results-kernel-c: $(STAMP) ## what the packaged policies lose as integers in C
	$(BIN)/python -m tierenv.train.kernel_c --json results/kernel-c.json

check: lint types test ## everything a change must pass

test: $(STAMP) ## the tests
	PYTHONHASHSEED=0 $(BIN)/pytest --quiet --numprocesses auto

lint: $(STAMP) ## style and format
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet

# mypy cannot follow the mapping of agents/, train/ and configs/ into tierenv, so it sees the installed layout as links.
types: $(STAMP) ## static types
	@rm -rf $(TYPES) && mkdir -p $(TYPES)/tierenv
	@ln -s $(CURDIR)/tierenv/* $(foreach root,agents train configs,$(CURDIR)/$(root)) $(TYPES)/tierenv
	cd $(TYPES) && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml \
		--cache-dir $(CURDIR)/.mypy_cache --package tierenv | sed -E 's#^tierenv/(agents|train|configs)/#\1/#'

$(STAMP): pyproject.toml constraints.txt
	@echo "installing tierenv and its pinned dependencies into .venv (minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
