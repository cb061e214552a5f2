# Every target but help sets up .venv by itself when it is missing or older than the lock.
.DEFAULT_GOAL := help
.PHONY: help setup run test check bench lock
PYTHON ?= python3
PIP := .venv/bin/python -m pip --disable-pip-version-check

help: ## Show this help
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup: .venv/ready ## Make the virtual environment from the lock

.venv/ready: requirements.lock pyproject.toml
	@echo "Making the virtual environment .venv ..."
	@$(PYTHON) -m venv .venv
	@echo "Installing the locked packages (about a minute) ..."
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch .venv/ready

run: .venv/ready ## Serve workflows/ with a local tenant (postern dev)
	@.venv/bin/postern dev

test: .venv/ready ## Run the tests, on all cores
	@.venv/bin/python -m pytest --numprocesses auto --dist loadfile

check: .venv/ready ## Check format, lint, types and import layers
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

bench: .venv/ready ## Compare the speed with bare Starlette (needs wrk)
	@.venv/bin/python -m tests.bench

lock: .venv/ready ## Resolve the dependencies anew into requirements.lock
	@.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev --upgrade pyproject.toml --output-file requirements.lock
