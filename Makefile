# Set-up, tests and demo on a machine without ROS. On one with ROS 2 Jazzy the same tree builds with colcon.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
SHELL := /bin/sh

# A Python 3.11 or 3.12; empty: the first that is found.
PYTHON ?=
# Package index to take torch from; empty: the CPU build, or what was chosen last time.
TORCH_INDEX ?=
# Passed to the command (make demo, make test).
ARGS ?=

BIN := .venv/bin
# One file per step that is done: a second run does what has changed since, so mostly nothing.
DONE := .venv/setup
STEPS := $(addprefix $(DONE)/,requirements torch messages packages rendering)
STEP := scripts/step.sh $(DONE)/logs
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install
PYTHON_PACKAGES := $(addprefix src/,dexvla_model dexvla_sim dexvla_ros)
MESSAGE_SOURCES := $(wildcard $(addprefix src/dexvla_msgs/, \
    CMakeLists.txt package.xml pyproject.toml cmake/* action/* msg/* srv/*))
SETUP_FILES := $(wildcard $(foreach package,$(PYTHON_PACKAGES), \
    $(package)/setup.py $(package)/setup.cfg $(package)/pyproject.toml))

export PYTHON

.PHONY: help setup demo test clean same-folder

help: ## Say what there is to make.
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  make demo ARGS="--policy scripted --episodes 3"    options of dexvla demo'
	@echo '  make test ARGS="-m slow tests/dexvla_sim"          options of pytest'
	@echo '  make setup PYTHON=/usr/bin/python3.12              the Python (3.11 or 3.12) that makes .venv'
	@echo '  make setup TORCH_INDEX=https://download.pytorch.org/whl/cu130'
	@echo '                          the build of torch: this one is for an NVIDIA card; without it the'
	@echo '                          build for a CPU, or what was chosen last time'

setup: $(STEPS) ## Make .venv with everything in it.
	@[ "$(MAKECMDGOALS)" != setup ] || echo "Ready: make demo shows the robot, make test runs the tests."

demo: setup ## Set up, then see the robot do what a sentence says (dexvla demo).
	@$(BIN)/dexvla demo $(ARGS)

reproduce-%: setup ## Reproduce a table of the evaluation: reproduce-tabletop, -shipped, -stage1, -sub-steps, -size or -baselines.
	@$(BIN)/dexvla reproduce $(subst -,_,$*) $(ARGS)

test: setup ## Set up, then run the tests (pytest).
	@$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadgroup $(ARGS)

clean: ## Remove .venv and everything that was built.
	rm -rf .venv build install log .pytest_cache src/*/build src/*/*.egg-info
	find src tests launch scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# The steps of set-up

# A .venv in a copied or renamed checkout would run the code of the original.
same-folder:
	@[ ! -e $(BIN)/activate ] || grep -qF '$(CURDIR)/.venv' $(BIN)/activate || { \
	    echo ".venv was made for another folder: run 'make clean' and then make again." >&2; exit 2; }

$(DONE)/environment: | same-folder
	@python="$$(scripts/find_python.sh)" && \
	if [ ! -x $(BIN)/python ]; then \
	    scripts/install_system_libraries.sh build "$$python" && \
	    $(STEP)/environment.log "Making .venv with $$python" "$$python" -m venv .venv; \
	fi
	@mkdir -p $(DONE)
	@touch $@

$(DONE)/requirements: requirements.txt | $(DONE)/environment
	@$(STEP)/requirements.log \
	    "Installing $$(grep -c == requirements.txt) packages, ROS 2 among them (1 to 2 minutes)" \
	    scripts/install_requirements.sh $(BIN)/python requirements.txt
	@touch $@

# Holds the index that was asked for, so that a later make without TORCH_INDEX stays with it.
$(DONE)/torch: requirements-torch.txt | $(DONE)/requirements
	@$(STEP)/torch.log "Installing torch (200 MB for a CPU, gigabytes for CUDA)" \
	    scripts/install_torch.sh $(BIN)/python $@ $(TORCH_INDEX)

ifneq ($(strip $(TORCH_INDEX)),)
ifneq ($(strip $(TORCH_INDEX)),$(shell cat $(DONE)/torch 2>/dev/null))
.PHONY: $(DONE)/torch
endif
endif

$(DONE)/messages: $(MESSAGE_SOURCES) $(DONE)/requirements
	@$(STEP)/messages.log "Building dexvla_msgs (half a minute)" \
	    $(PIP_INSTALL) --no-build-isolation --no-deps --force-reinstall ./src/dexvla_msgs
	@touch $@

# Editable: a change of the code needs nothing, one of these files does.
$(DONE)/packages: $(SETUP_FILES) | $(DONE)/requirements
	@$(STEP)/packages.log "Installing dexvla_model, dexvla_sim and dexvla_ros" \
	    $(PIP_INSTALL) --no-build-isolation --no-deps $(addprefix -e ./,$(PYTHON_PACKAGES))
	@touch $@

$(DONE)/rendering: scripts/install_system_libraries.sh | $(DONE)/requirements
	@scripts/install_system_libraries.sh rendering $(BIN)/python
	@touch $@
