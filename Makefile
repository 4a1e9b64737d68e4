# Everything here needs Linux, make, git and Python >= 3.11 with venv; the rest is installed by the targets themselves.

MAKEFLAGS += --no-print-directory
BIN := .venv/bin
SIZE := full
# Of make test. One of several plays the labs, which mostly wait, the others keep the cores busy; each needs some 600 MiB.
# 0: one test after the other.
WORKERS := 0
GENERATED := deploy/crd docs/reference/plan.md docs/reference/reasons.md

.DEFAULT_GOAL := help
.PHONY: help setup check test e2e e2e-all bench campaign transcript lab binaries binary generate lock clean

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv from the lock file (at once where that is done)
	@tools/setup.sh

check: setup ## Lint, types, import contracts; generated files are fresh
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) generate
	git --no-pager diff --exit-code -- $(GENERATED)

test: setup binaries binary ## All tests: the real control plane, the whole lab and the built node daemon too
	$(BIN)/pytest --with-cluster --with-lab --with-binary -n $(WORKERS)

e2e: setup ## Real kubeadm nodes, as root: an upgrade, power cuts, and nothing left behind
	timeout --kill-after=60 3600 $(BIN)/python -m kube_upgrade.lab.real.ready
	@$(MAKE) binary
	timeout --kill-after=60 1800 $(BIN)/pytest tests/e2e/real -m 'real and short' -p no:randomly --durations=0

e2e-all: setup ## The same with every scenario (an hour and more)
	timeout --kill-after=60 5400 $(BIN)/python -m kube_upgrade.lab.real.ready v1.35.4 v1.36.3 v1.37.2
	@$(MAKE) binary
	timeout --kill-after=60 9000 $(BIN)/pytest tests/e2e/real -m real -p no:randomly --durations=0

bench: setup binaries ## Measure speed and memory; options: make bench ARGS='--nodes 1000'
	$(BIN)/python -m bench $(ARGS)

campaign: setup binaries ## Many more examples under a printed seed (SIZE=full or sampled)
	$(BIN)/python tools/campaign.py $(SIZE)

lab: setup binaries ## Upgrade a cluster on this machine; options: make lab ARGS='--workers 5'
	@$(BIN)/kube-upgrade lab $(ARGS)

binaries: setup ## Find, fetch or build etcd and Kubernetes (minutes, once per user)
	@$(BIN)/python -m kube_upgrade.lab.binaries >&2

binary: setup ## Build dist/upgraded.tar.gz, the node daemon for hosts without Python
	@tools/binary.sh

generate: setup ## Write the CRD and its reference page from the code
	$(BIN)/python -m kube_upgrade.kube.wire.generate

transcript: setup binaries ## Run the lab and put its story into README.md and docs/; a blocked drain, a node that falls back
	$(BIN)/python tools/transcript.py
	$(BIN)/python tools/drain_transcript.py
	$(BIN)/python tools/fall_back_transcript.py

lock: setup ## Pin the newest versions that pyproject.toml allows
	tools/lock.sh

clean: ## Remove .venv and what the tools left (the shared cache of binaries stays)
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
