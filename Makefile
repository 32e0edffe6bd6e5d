# make demo | test | check | clean     PYTHON=python3.12 make test     make test JOBS=4 ARGS="tests/cli -x"
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3.11
VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.das-installed
PEERS := tests/parity/peers.txt
# Processes that share the tests, file by file.
JOBS ?= 2
ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Threads that wait must not keep a core from others that work.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help env demo test check clean
.DEFAULT_GOAL := help

help:
	@head -1 Makefile

env: $(STAMP)

demo: $(STAMP)
	$(PY) -m das.cli.main demo

test: $(STAMP)
	$(PY) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

check: $(STAMP)
	PYTHON=$(PY) scripts/check.sh

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find das tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian's python may lack ensurepip; then the outer pip puts a pip into the environment.
$(PY):
	@echo "creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || $(PYTHON) -m venv --clear --without-pip $(VENV)

$(STAMP): pyproject.toml constraints.txt $(PEERS) | $(PY)
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m pip --python $(PY) install -q pip
	@echo "installing das and its dependencies into $(VENV) (a few minutes the first time)"
	@$(PY) -m pip install --progress-bar off -c constraints.txt -e '.[dev,launchers]' \
		| awk '/^ *Downloading .* MB/ { print "  " $$2, $$3, $$4 } \
		       /^Installing collected/ { print "  unpacking", NF - 3, "packages" } { fflush() }'
	@$(PY) -m pip install -q --no-deps -r $(PEERS)
	@touch $@
