# What a developer, an operator in a checkout, and continuous integration run. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup run test test-fleet test-long coverage lint bench conformance lock clean _tools

PYTHON_BIN := .venv/bin
TOOLS := $(abspath $(or $(STOWAGE_TOOLS),.tools))
export PATH := $(CURDIR)/$(PYTHON_BIN):$(TOOLS)/bin:$(PATH):/usr/local/sbin:/usr/sbin:/sbin
# Arguments for what a target runs: make run ARGS="--port 5001", make test ARGS="tests/storage -k delete"
ARGS ?=
# Processes that run tests side by side; 0: one after the other.
PROCESSES ?= 4
SPREAD = --numprocesses=$(PROCESSES) --dist=loadscope --no-loadscope-reorder
# Tests on the other backend wait for nothing exactly, and for their servers most of the time: so side by side.
FLEET_PROCESSES ?= 3
FLEET_TESTS = tests/api $(if $(STOWAGE_LONG),tests/conformance tests/faults)
FLEET = echo "test: pytest on PostgreSQL and S3"; STOWAGE_TEST_DATABASE=postgresql STOWAGE_TEST_STORAGE=s3 \
	$(PYTHON_BIN)/python -m pytest --numprocesses=$(FLEET_PROCESSES) --dist=loadscope -p no:cacheprovider

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## make .venv with all that running the server needs
	@scripts/setup

run: setup ## serve on 127.0.0.1:5000 with data in ./data (ARGS= more arguments for `stowage serve`)
	@exec $(PYTHON_BIN)/stowage serve $(ARGS)

# Tests start hundreds of servers and commands: what those import is compiled once.
test test-fleet coverage: export PYTHONDONTWRITEBYTECODE :=

test: lint _tools ## install what tests need, check the code, run all tests (ARGS= for pytest: some of them; PROCESSES=2 side by side)
	@echo "test: pytest"
	@$(PYTHON_BIN)/python -m pytest $(SPREAD) $(ARGS)
	@$(if $(ARGS),,$(FLEET) $(FLEET_TESTS))

test-fleet: lint _tools ## run the API's tests with PostgreSQL and S3 instead of SQLite and a folder, as `make test` does too (ARGS= others)
	@$(FLEET) $(or $(ARGS),$(FLEET_TESTS))

# Measured in the servers that tests start too, which take twice their CPU time then: so not in every run.
coverage: lint _tools ## run all tests and measure which lines and branches they reach (build/coverage/index.html)
	@$(PYTHON_BIN)/python -m pytest $(SPREAD) --cov --cov-report=term --cov-report=html $(ARGS)

test-long: export STOWAGE_LONG := 1
test-long: test ## the same with the long runs (STOWAGE_LONG=1)

lint: ## check style, types and the direction of imports
	@scripts/setup dev
	@echo "lint: ruff check"
	@$(PYTHON_BIN)/ruff check --quiet
	@echo "lint: ruff format"
	@$(PYTHON_BIN)/ruff format --check --quiet
	@echo "lint: mypy"
	@$(PYTHON_BIN)/mypy --no-error-summary
	@echo "lint: import-linter"
	@$(PYTHON_BIN)/lint-imports --no-cache --no-logo

bench: ## measure beside CNCF distribution, Debian's docker-registry and nginx (ARGS= for python -m bench)
	@scripts/setup dev
	@scripts/install-test-tools
	@$(PYTHON_BIN)/python -m bench $(ARGS)

conformance: ## run the conformance suite against a server of ours (OFFICIAL= the official suite's program, to run it too)
	@scripts/setup dev
	@scripts/conformance $(OFFICIAL)

lock: setup ## write requirements/*.txt anew (ARGS=--upgrade for newer versions)
	@scripts/lock $(ARGS)

clean: ## remove all that make made, but for ./data
	rm -rf .venv .tools build dist *.egg-info .coverage .coverage.* .hypothesis
	rm -rf .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find auth bench conformance registry storage tests -name __pycache__ -prune -exec rm -rf {} +

_tools:
	@scripts/install-test-tools
	@echo "tools: a base and wheels for images"
	@$(PYTHON_BIN)/python -m tests.packaging.cached
