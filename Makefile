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

.PHONY: help demo test lint types check results policies best-static results-kernel-c calibration

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

DEMO := runs/demo

demo: $(STAMP) ## check the model, train, evaluate, export: the product in a few minutes
	@rm -rf $(DEMO)
	@$(TIERENV) train ppo-moving-hot-set-demo --run-dir $(DEMO)/run
	@$(TIERENV) export $(DEMO)/run --format bundle --output $(DEMO)/bundle
	@$(TIERENV) export best-static --scenario moving-hot-set --format parameters --output $(DEMO)/parameters.json
	@$(TIERENV) export static:2000,1024,inf --scenario skewed --format sysfs --output $(DEMO)/apply.sh
	@$(TIERENV) evaluate moving-hot-set --seeds 2 --plot $(DEMO)/timeline.png \
		--policy $(DEMO)/run --policy built-in --policy best-static > /dev/null
	@$(BIN)/python -m tierenv.train.fidelity
	@$(TIERENV) evaluate demo --seeds 20 --json $(DEMO)/evaluation.json --policy no-migration --policy kmmscand-v1 \
		--policy built-in --policy best-static --policy $(DEMO)/bundle
	@echo "run folder           $(DEMO)/run"
	@echo "policy bundle        $(DEMO)/bundle"
	@echo "exported parameters  $(DEMO)/parameters.json"
	@echo "sysfs script         $(DEMO)/apply.sh (dry run unless called with --apply)"
	@echo "timeline             $(DEMO)/timeline.png"

PLATFORM := configs/platforms/amd-epyc-cxl
MODEL := $(wildcard tierenv/*.py tierenv/sim/*.py) $(PLATFORM).yaml

MOVING_RUNS := $(foreach seed,0 1 2 3 4,runs/ppo-moving-hot-set-s$(seed))
KERNEL_POLICIES := --policy no-migration --policy numab1 --policy numab2 --policy kmmscand-v0 --policy kmmscand-v1 \
	--policy kscand-v3 --policy built-in --policy random --policy best-static

results: results/first-round.json results/moving-hot-set.json results/bench.json results/convergence.json \
		results/equivalence.json docs/timeline.png ## regenerate every table
	$(BIN)/python -m tierenv.train.studies.readme
	$(BIN)/python -m tierenv.train.studies.model_doc

results/first-round.json: $(MODEL) configs/policies/best-static.json configs/policies/moving-hot-set \
		configs/policies/moving-hot-set-tree configs/policies/abench
	$(TIERENV) evaluate first-round --seeds 20 --json $@ $(KERNEL_POLICIES) \
		--policy moving-hot-set --policy moving-hot-set-tree --policy abench

results/moving-hot-set.json: $(MOVING_RUNS)
	$(TIERENV) evaluate moving-hot-set --seeds 20 --json $@ --policy built-in --policy best-static $(MOVING_RUNS:%=--policy %)

results/abench.json: runs/ppo-abench-s0
	$(TIERENV) evaluate abench --seeds 20 --json $@ --policy built-in --policy best-static --policy $<

results/bench.json: | $(STAMP)
	$(TIERENV) bench --json $@

results/convergence.json: $(MODEL) configs/policies/best-static.json | $(STAMP)
	$(BIN)/python -m tierenv.train.studies.convergence --json $@

results/equivalence.json: $(MODEL) train/studies/equivalence.py | $(STAMP)
	$(BIN)/python -m tierenv.train.studies.equivalence --json $@

docs/timeline.png: configs/policies/moving-hot-set
	$(TIERENV) evaluate moving-hot-set --seeds 1 --plot $@ --policy moving-hot-set --policy built-in --policy best-static

# A training that was stopped goes on from its last checkpoint.
runs/ppo-moving-hot-set-s%: | $(STAMP)
	$(TIERENV) train ppo-moving-hot-set --seed $* --run-dir $@ $(if $(wildcard $@/config.yaml),--resume)

runs/ppo-abench-s%: | $(STAMP)
	$(TIERENV) train ppo-abench --seed $* --run-dir $@ $(if $(wildcard $@/config.yaml),--resume)

# The seed is the one that was best on the selection episodes of training (seeds 30000 and up), not on those of evaluation.
SHIPPED_SEED := 2

policies: results/moving-hot-set.json results/abench.json ## export the packaged policies anew
	rm -rf configs/policies/moving-hot-set configs/policies/abench
	$(TIERENV) export runs/ppo-moving-hot-set-s$(SHIPPED_SEED) --format bundle \
		--output configs/policies/moving-hot-set --evaluation results/moving-hot-set.json
	$(TIERENV) export runs/ppo-abench-s0 --format bundle --output configs/policies/abench --evaluation results/abench.json
	rm -rf configs/policies/moving-hot-set-tree
	$(TIERENV) distil moving-hot-set --scenario moving-hot-set --leaves 16 --seeds 20 \
		--output configs/policies/moving-hot-set-tree --json results/distil.json

calibration: $(STAMP) ## fit the platform to the published times anew; afterwards: make best-static policies results
	$(TIERENV) calibrate abench_rfc_v1 --platform amd-epyc-cxl --output build/fitted.yaml
	mv build/fitted.yaml $(PLATFORM).yaml
	mv build/fitted.calibration.json $(PLATFORM).calibration.json

best-static: $(STAMP) ## search the best static setting of every scenario anew
	for scenario in abench-8g abench-16g abench-32g abench-64g skewed moving-hot-set moving-hot-set-far noisy-neighbour; do \
		$(TIERENV) tune $$scenario --seeds 8 --save; done

results-kernel-c: $(STAMP) ## what the packaged policies lose as integers in C
	$(BIN)/python -m tierenv.train.studies.kernel_c --json results/kernel-c.json

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
