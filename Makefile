# Every target sets the project up first where needed; `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV ?= .venv
BIN := $(VENV)/bin
STACK := $(BIN)/python -m deploy.local
QUICK := $(wildcard tests/unit tests/contract)
STAMP := .run/setup.stamp
SET_UP = "$$(deploy/setup/pick-python)" -m deploy.setup
LOCKED = --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header
COMPILE = $(BIN)/uv pip compile -q $(LOCKED) --extra jobs --extra gateway
# Where a shell forbids it, each of the tests' hundreds of processes would compile every module again.
unexport PYTHONDONTWRITEBYTECODE
export PYTHON VENV YES BREAK KEEP POSTS RATE SECONDS REASON FIGURE

.PHONY: help setup check test test-all-pythons proof dev demo rehearse release-check env up down ps logs lock dashboards clean test-rabbitmq4

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is missing: virtual environment, Python packages, servers (YES=1 answers, PYTHON= chooses)
	@$(SET_UP) --venv $(VENV)
	@mkdir -p $(dir $(STAMP)) && touch $(STAMP)

# The same, done only when something has changed since, so that the other targets lose no time.
$(STAMP): requirements-dev.lock pyproject.toml $(wildcard deploy/setup/*.py) $(if $(wildcard $(BIN)/python),,missing-venv)
	@$(SET_UP) --venv $(VENV)
	@mkdir -p $(dir $@) && touch $@

.PHONY: missing-venv
missing-venv:

check: $(STAMP) ## style, types, import rules, unit and contract tests: what to run before a commit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -n 2 --dist worksteal $(QUICK)

test: $(STAMP) ## every test, real servers included; a quarter of an hour (ALREADY= leaves folders out)
	$(BIN)/python -m pytest -q -n 4 --dist worksteal $(addprefix --ignore=,$(ALREADY))

test-all-pythons: $(STAMP) ## unit and contract tests on each Python from 3.11 to 3.13 that is installed
	@for version in 3.11 3.12 3.13; do \
		python=$$(PYTHON=python$$version deploy/setup/pick-python 2>/dev/null) || { echo "-- $$version is not installed"; continue; }; \
		echo "-- $$version"; \
		"$$python" -m deploy.setup --no-servers --venv .venv-$$version || exit 1; \
		.venv-$$version/bin/python -m pytest -q $(QUICK) || exit 1; \
	done

test-rabbitmq4: $(STAMP) ## broker tests on a RabbitMQ that runs already (URL=amqp://user:password@host:port MANAGEMENT=http://…)
	@test -n "$(URL)" || { echo "which RabbitMQ? make $@ URL=amqp://guest:guest@127.0.0.1:5672"; exit 2; }
	RABBITMQ_URL="$(URL)" RABBITMQ_MANAGEMENT="$(MANAGEMENT)" $(BIN)/python -m pytest -q tests/faults \
		tests/integration/test_worker.py

proof: $(STAMP) ## every test at the sizes that the project promises; takes long
	PROOF=1 $(BIN)/python -m pytest

dev: $(STAMP) env ## the stack in the foreground; worker and scheduler restart when code changes; Ctrl-C stops all
	@$(STACK) --run-dir .run/dev up --foreground \
		--reload broker-setup --reload migrate --reload worker --reload scheduler \
		--follow migrate --follow worker --follow scheduler \
		--set "worker.command=dramatiq actors -p 1 -t 4 --worker-shutdown-timeout 5000" \
		--set worker.environment.DUTIFUL_LOGS__FORMAT=console --set scheduler.environment.DUTIFUL_LOGS__FORMAT=console

demo: $(STAMP) ## import a feed while a worker is killed, and check the result (BREAK=skip-one|double|ack-first, KEEP=1, POSTS=)
	$(BIN)/python -m deploy.demo

rehearse: $(STAMP) ## deploy, upgrade, check and roll back a release under load; its report is in .run/rehearsal (RATE=, SECONDS=)
	$(BIN)/python -m deploy.rehearsal

release-check: $(STAMP) ## check this commit, keep the evidence, tag it (REASON= FIGURE= STAGING=.env DRY=1 ONLY=)
	$(BIN)/python -m deploy.release --reason "$$REASON" --figure "$$FIGURE" --staging "$(or $(STAGING),.env)" $(if $(DRY),--dry-run) $(addprefix --only ,$(ONLY))

env: ## write a .env with random passwords where it has none
	@"$$(deploy/setup/pick-python)" -m deploy.setup.passwords

up: $(STAMP) env ## start the local stack and leave it running
	$(STACK) up

down: ## stop the local stack; its data stays
	$(STACK) stop

ps: ## what runs in the local stack
	@$(STACK) status

logs: ## follow the logs of the local stack
	$(STACK) logs --follow

lock: $(STAMP) ## write the lock files anew from pyproject.toml
	$(COMPILE) pyproject.toml -o requirements.lock
	$(COMPILE) --group dev pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile -q $(LOCKED) --group build -o deploy/build.lock

dashboards: $(STAMP) ## write dashboards and alert rules anew from grafana/*.py and deploy/prometheus/*.py
	$(BIN)/python -m deploy.prometheus
	$(BIN)/python -W ignore::DeprecationWarning -m grafana

clean: ## remove environments, data and caches; refused while a stack runs
	@if [ -x $(BIN)/python ]; then $(STACK) clean; fi
	rm -rf .venv .venv-* .run .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
