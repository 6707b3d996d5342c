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
	results results-status calibration

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

DOIT := $(BIN)/doit -f train/studies/dodo.py

# What measures the speed of the machine has it to itself; of the rest two pieces are made at a time.
results: $(STAMP) ## make anew the results and shipped policies of which a source has changed, and the documents' tables
	$(DOIT) run -n 2 -P thread side-by-side
	$(DOIT) run

results-status: $(STAMP) ## which results are current (U), and which are to be made anew (R)
	@$(DOIT) list --status

calibration: $(STAMP) ## fit the platform to the published times anew; afterwards: make results
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
