# crag: the commands a person types. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin
ARGS   ?=
TESTS  ?=

.DEFAULT_GOAL := help
.PHONY: help env system demo test lint format bench lock

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: ## Create .venv with all three roles (editable) and the development tools
	@PYTHON="$(PYTHON)" sh scripts/env.sh "$(VENV)"

system: ## Install gocryptfs, fuse3 and libgomp1 where they are missing
	@sh scripts/system.sh

demo: env system ## Play all three roles on this machine (ARGS='--json', '--keep', '--stop')
	@$(RUN)/python examples/demo $(ARGS)

test: env system ## Run the whole suite but what is slow or needs hardware (TESTS=path or -k name)
	@$(RUN)/python -m pytest -n 2 --dist loadfile -m "not slow and not hardware" $(TESTS)

lint: env ## ruff and mypy --strict
	@$(RUN)/ruff check src tests examples
	@$(RUN)/ruff format --check src tests examples
	@$(RUN)/mypy
	@cd examples/demo && ../../$(RUN)/mypy --config-file ../../pyproject.toml __main__.py

format: env ## Format and sort imports
	@$(RUN)/ruff check --fix src tests examples
	@$(RUN)/ruff format src tests examples

bench: env system ## Every benchmark, as ratios (ARGS='--json', ARGS='--only NAME')
	@$(RUN)/python tests/benchmarks $(ARGS)

lock: ## Resolve the dependencies anew into requirements/*.lock
	@sh scripts/lock.sh
