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

# What the user of this machine has tuned or left half done decides nothing here.
export XDG_DATA_HOME := $(CURDIR)/build/data
export XDG_STATE_HOME := $(CURDIR)/build/state

.PHONY: help demo test kernel-test kernel-determinism kernel-debug-test kernel-fidelity fuzz lint types check floors \
	results policies calibration

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

DEMO := runs/demo

NUMA := --daemon numa-balancing
STATIC := best-static --scenario moving-hot-set $(NUMA) --target numa-balancing

demo: $(STAMP) ## NUMA balancing: its defaults, the best static setting, a policy trained now; what to install
	@rm -rf $(DEMO)
	@$(TIERENV) train ppo-numa-balancing-demo --run-dir $(DEMO)/run
	@$(TIERENV) export $(DEMO)/run --format bundle --output $(DEMO)/bundle
	@$(TIERENV) export $(STATIC) --format sysfs --output $(DEMO)/apply.sh
	@$(TIERENV) export $(STATIC) --format tuned --output $(DEMO)/tierenv-demo
	@$(TIERENV) export numa-balancing --format controller --output $(DEMO)/tierenv-live.pyz
	@$(TIERENV) evaluate moving-hot-set $(NUMA) --seeds 1 --plot $(DEMO)/timeline.png \
		--policy numab2 --policy best-static --policy $(DEMO)/bundle > /dev/null
	@$(TIERENV) fidelity guest
	@$(TIERENV) evaluate demo --seeds 20 --json $(DEMO)/evaluation.json --policy no-migration --policy numab2 \
		--policy best-static --policy $(DEMO)/bundle --policy numa-balancing
	@echo "run folder      $(DEMO)/run"
	@echo "policy bundle   $(DEMO)/bundle"
	@echo "timeline        $(DEMO)/timeline.png"
	@echo "sysfs script    $(DEMO)/apply.sh (dry run unless called with --apply)"
	@echo "TuneD profile   $(DEMO)/tierenv-demo"
	@echo "controller      $(DEMO)/tierenv-live.pyz (python3 -I tierenv-live.pyz check, on a host with two memory tiers)"

PLATFORM := configs/platforms/amd-epyc-cxl
MODEL := $(shell find tierenv agents train -name '*.py' -not -path 'train/studies/*') \
	$(wildcard $(foreach kind,platforms workloads daemons scenarios suites algorithms,configs/$(kind)/*.yaml))

BEST_STATIC := configs/policies/best-static.json
BUNDLES := $(foreach name,moving-hot-set moving-hot-set-tree abench numa-balancing,configs/policies/$(name)/policy.json)

TRAINING_SEEDS := 0 1 2 3 4
KERNEL_POLICIES := --policy no-migration --policy numab1 --policy numab2 --policy kmmscand-v0 --policy kmmscand-v1 \
	--policy kscand-v3 --policy built-in --policy random --policy best-static

# Results and policies are one graph. What a stop left undone is done next time; all of it from nothing takes an hour or
# two. Only trainings do not follow the model: remove build/trained and runs/ to train anew.
RESULTS := $(foreach name,first-round numa-balancing numa-balancing-seeds numa-balancing-seeds-far moving-hot-set abench distil kernel-c bench convergence equivalence readings fidelity reliability live-cost search-curves,results/$(name).json)

results: $(RESULTS) docs/timeline.png ## regenerate every table, and the policies they are about where these are older
	$(BIN)/python -m tierenv.train.studies.readme
	$(BIN)/python -m tierenv.train.studies.model_doc
	$(BIN)/python -m tierenv.train.studies.configuration_doc
	$(BIN)/python -m tierenv.train.studies.reliability_doc
	$(BIN)/python -m tierenv.train.studies.live_doc
	$(BIN)/python -m tierenv.train.studies.search_doc

policies: $(BEST_STATIC) $(BUNDLES) ## search, train and distil the packaged policies anew

results/first-round.json: $(MODEL) $(BEST_STATIC) $(BUNDLES)
	$(TIERENV) evaluate first-round --seeds 20 --json $@ $(KERNEL_POLICIES) \
		--policy moving-hot-set --policy moving-hot-set-tree --policy abench

results/moving-hot-set.json: $(MODEL) $(BEST_STATIC) $(TRAINING_SEEDS:%=build/trained/ppo-moving-hot-set-s%)
	$(TIERENV) evaluate moving-hot-set --seeds 20 --json $@ --policy built-in --policy best-static \
		$(TRAINING_SEEDS:%=--policy runs/ppo-moving-hot-set-s%)

results/numa-balancing.json: $(MODEL) $(BEST_STATIC) configs/policies/numa-balancing/policy.json
	$(TIERENV) evaluate numa-balancing --seeds 20 --json $@ --policy no-migration --policy numab2 --policy best-static \
		--policy one-static:numa-balancing --policy numa-balancing

NUMA_TRAININGS := $(TRAINING_SEEDS:%=ppo-numa-balancing-s%)
results/numa-balancing-seeds.json: SCENARIO := moving-hot-set
results/numa-balancing-seeds-far.json: SCENARIO := moving-hot-set-far

results/numa-balancing-seeds%json: $(MODEL) $(BEST_STATIC) $(NUMA_TRAININGS:%=build/trained/%)
	$(TIERENV) evaluate $(SCENARIO) $(NUMA) --seeds 20 --json $@ --policy numab2 --policy best-static \
		$(NUMA_TRAININGS:%=--policy runs/%)

results/abench.json: $(MODEL) $(BEST_STATIC) build/trained/ppo-abench-s0
	$(TIERENV) evaluate abench --seeds 20 --json $@ --policy built-in --policy best-static --policy runs/ppo-abench-s0

results/kernel-c.json: $(MODEL) train/studies/kernel_c.py $(BUNDLES) $(wildcard agents/export/c_source/*)
	$(BIN)/python -m tierenv.train.studies.kernel_c --json $@

results/bench.json: $(MODEL) | $(STAMP)
	$(TIERENV) bench --json $@

results/readings.json: $(MODEL) train/studies/readings.py $(wildcard configs/measurements/*) | $(STAMP)
	$(BIN)/python -m tierenv.train.studies.readings --json $@

results/search-curves.json: $(MODEL) train/studies/search_curves.py | $(STAMP)
	$(BIN)/python -m tierenv.train.studies.search_curves moving-hot-set --json $@

results/convergence.json: $(MODEL) train/studies/convergence.py $(BEST_STATIC)
	$(BIN)/python -m tierenv.train.studies.convergence --json $@

results/equivalence.json: $(MODEL) train/studies/equivalence.py | $(STAMP)
	$(BIN)/python -m tierenv.train.studies.equivalence --json $@

results/fidelity.json: $(MODEL) $(wildcard configs/measurements/*) | $(STAMP)
	$(TIERENV) fidelity --json $@

results/reliability.json: $(MODEL) tests/reliability.py | $(STAMP)
	$(BIN)/python -m tests.reliability --kills 50 --json $@

results/live-cost.json: $(wildcard tierenv/live/*.py) tests/live/cost.py | $(STAMP)
	$(BIN)/python -m tests.live.cost --json $@

docs/timeline.png: configs/policies/moving-hot-set/policy.json
	$(TIERENV) evaluate moving-hot-set --seeds 1 --plot $@ --policy moving-hot-set --policy built-in --policy best-static

$(BEST_STATIC): build/tuned/kmmscand-tunable build/tuned/numa-balancing
	touch $@

# Of the daemon with a tunable more a quarter of the seeds are about as many runs.
build/tuned/numa-balancing: TUNING_SEEDS := 2

build/tuned/%: $(MODEL) | $(STAMP)
	$(BIN)/python -m tierenv.train.studies.best_static $* --seeds $(or $(TUNING_SEEDS),8)
	@mkdir -p $(@D) && touch $@

# A training that was stopped goes on from its last checkpoint.
resume = $(if $(wildcard $(1)/config.yaml),--resume)

# of a run PRESET-sSEED
seed = $(lastword $(subst -s, ,$(1)))
preset = $(patsubst %-s$(call seed,$(1)),%,$(1))

build/trained/%: | $(STAMP)
	$(TIERENV) train $(call preset,$*) --seed $(call seed,$*) --run-dir runs/$* $(call resume,runs/$*)
	@mkdir -p $(@D) && touch $@

# The seed is the one that was best on the selection episodes of training (seeds 30000 and up), not on those of evaluation.
SHIPPED_SEED := 0
SHIPPED_NUMA_SEED := 0

configs/policies/moving-hot-set/policy.json: results/moving-hot-set.json
	rm -rf $(@D)
	$(TIERENV) export runs/ppo-moving-hot-set-s$(SHIPPED_SEED) --format bundle --output $(@D) --evaluation $<

configs/policies/numa-balancing/policy.json: results/numa-balancing-seeds.json
	rm -rf $(@D)
	$(TIERENV) export runs/ppo-numa-balancing-s$(SHIPPED_NUMA_SEED) --format bundle --output $(@D) --evaluation $<

configs/policies/abench/policy.json: results/abench.json
	rm -rf $(@D)
	$(TIERENV) export runs/ppo-abench-s0 --format bundle --output $(@D) --evaluation $<

configs/policies/moving-hot-set-tree/policy.json results/distil.json &: configs/policies/moving-hot-set/policy.json
	rm -rf configs/policies/moving-hot-set-tree
	$(TIERENV) distil moving-hot-set --scenario moving-hot-set --leaves 16 --seeds 20 \
		--output configs/policies/moving-hot-set-tree --json results/distil.json

calibration: $(STAMP) ## fit the platform to the published times anew; afterwards: make policies results
	$(TIERENV) calibrate abench_rfc_v1 --platform amd-epyc-cxl --output build/fitted.yaml
	mv build/fitted.yaml $(PLATFORM).yaml
	mv build/fitted.workload.yaml configs/workloads/abench.yaml
	mv build/fitted.calibration.json $(PLATFORM).calibration.json

check: lint types test ## everything a change must pass

test: $(STAMP) ## the tests
	PYTHONHASHSEED=0 $(BIN)/pytest --quiet --numprocesses auto

kernel-test: $(STAMP) ## what is exported, and the model, in real kernels: guests in QEMU (two minutes of two cores)
	PYTHONHASHSEED=0 $(BIN)/pytest --quiet tests/kernel

kernel-determinism: $(STAMP) ## whether two boots of one image say the same, byte by byte
	$(BIN)/python -m tests.kernel.determinism

kernel-debug-test: $(STAMP) ## the daemon on a kernel that tells of its faults, which is built once (twice ten minutes of CPU)
	PYTHONHASHSEED=0 $(BIN)/pytest --quiet tests/kernel_debug

kernel-fidelity: $(STAMP) ## count what the daemon does in a real kernel anew; afterwards: make results
	$(BIN)/python -m tests.kernel.fidelity

FUZZ := --cases 20000

fuzz: $(STAMP) ## feed spoiled files to every loader (half an hour; FUZZ='--seed 1 scenarios' for others)
	$(BIN)/python -m tests.fuzz $(FUZZ)

# The tests that tell whether an old version does, in an environment of its own.
FLOORS := build/floors

floors: ## the tests with the oldest versions that pyproject.toml declares (some ten minutes)
	@$(PYTHON) -m venv --clear $(FLOORS)
	@$(PYTHON) .ci/floors > $(FLOORS)/constraints.txt
	@PIP_CONSTRAINT=$(FLOORS)/constraints.txt $(FLOORS)/bin/python -m pip install -qq --disable-pip-version-check \
		--editable '.[dev]'
	PYTHONHASHSEED=0 $(FLOORS)/bin/pytest --quiet --numprocesses auto -m 'not expensive' \
		--ignore tests/sim/test_equivalence.py

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
