# What a person types here; `make help` lists it. Needs Python 3.11 or newer, git and make, and brings the rest.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run test check parts bench clean sync

UV_VERSION := 0.13.8
OWN_UV := $(CURDIR)/.ops-tools/bin/uv
# Run it, rather than look for it: a version manager may leave a `uv` on PATH that only says it is not installed.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo '$(OWN_UV)')
NEEDS_UV := $(if $(filter uv,$(UV)),,$(OWN_UV))

# Another project's environment may be active in this shell.
unexport VIRTUAL_ENV
export UV_PROJECT_ENVIRONMENT := $(CURDIR)/.venv
VENV := .venv
SYNCED := $(VENV)/.synced
# The environment is right once SYNCED is: asking uv again at each command costs time, and would need the network.
PY := $(UV) run --no-sync

TYPED := ops_pipelines $(wildcard bench examples tools)
# Tests mostly wait for servers: more processes than cores are worth their memory.
JOBS ?= 3
CACHES := .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
# Of the checkout, but not ours to sweep: installed programs, and the data of `make run`.
KEPT := .git .venv .ops .ops-tools

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

# `exec`, and the program itself rather than uv: there is then nothing between make and it that has to pass
# signals on. make hands SIGTERM to it, a terminal hands Ctrl-C to both, and make waits until it has ended.
run: $(SYNCED) ## start it here: the page, the example stack and its parts; Ctrl-C stops all of it
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH"; export PATH; exec ops-pipelines up $(ARGS)

test: check ## check, then the tests; OPS_TEST_REQUIRE=all fails where a part is missing; ARGS="-k word", ARGS="-m whole"
	$(PY) pytest --numprocesses $(JOBS) --dist loadscope --no-loadscope-reorder $(ARGS)

check: $(SYNCED) ## lint, format, types, import rules
	$(PY) ruff check
	$(PY) ruff format --check
	$(PY) mypy --strict $(TYPED)
	$(PY) lint-imports

parts: $(SYNCED) ## install or build the real parts that tests run against; ARGS="ollama" for one, ARGS=--list
	@$(PY) python -m tools.parts $(ARGS)

bench: $(SYNCED) ## the benchmarks: ratios against named peers
	$(PY) python -m bench $(ARGS)

clean: ## remove caches; never what `make run` stored
	rm -rf $(CACHES)
	find . $(foreach kept,$(KEPT),-path './$(kept)' -prune -o) -type d -name __pycache__ -prune -exec rm -rf {} +
	@if test -d .ops; then echo 'kept: .ops, the data of make run (rm -r .ops removes it)'; fi

sync: $(SYNCED)

$(SYNCED): pyproject.toml uv.lock $(NEEDS_UV)
	$(UV) sync --locked --all-extras
	@touch $@

# Debian's python3 comes without ensurepip unless python3-venv is there, but perhaps with pip.
$(OWN_UV):
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed as python3' >&2; exit 1; }
	@rm -rf .ops-tools
	python3 -m venv .ops-tools && .ops-tools/bin/pip install --quiet uv==$(UV_VERSION) || \
	  { rm -rf .ops-tools; python3 -m pip install --quiet --target .ops-tools uv==$(UV_VERSION); } || \
	  { rm -rf .ops-tools; echo 'uv cannot be fetched: install uv, or python3-venv (Debian), and repeat' >&2; exit 1; }
	@touch $@
