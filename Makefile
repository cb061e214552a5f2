# Every target but help sets up .venv by itself when it is missing or older than the lock.
.DEFAULT_GOAL := help
.PHONY: help setup run test test-fast soak check check-deploy bench mcp-conformance lock
PYTHON ?= python3
PACKAGES = $(shell grep -c '^[a-z].*==' requirements.lock)
PIP := .venv/bin/python -m pip --disable-pip-version-check

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: .venv/ready ## Make the virtual environment from the lock

.venv/ready: requirements.lock pyproject.toml
	@echo "Making the virtual environment .venv ..."
	@$(PYTHON) -m venv .venv
	@echo "Downloading and installing $(PACKAGES) packages (about a minute) ..."
	@: >.venv/pip.log; \
	  $(PIP) install --progress-bar off --report .venv/wheels.json --require-hashes \
	    --requirement requirements.lock >>.venv/pip.log 2>&1 & \
	  pip=$$!; trap "kill $$pip; exit 130" INT TERM; shown=0; runs=yes; while [ $$runs = yes ]; do \
	    kill -0 $$pip 2>/dev/null || runs=no; found=$$(grep -c '^Collecting' .venv/pip.log); \
	    if [ $$found -ge $$((shown + 25)) ]; then shown=$$found; echo "  $$found of $(PACKAGES)"; fi; \
	    if [ $$runs = yes ]; then sleep 0.2; fi; done; \
	  wait $$pip || { cat .venv/pip.log >&2; exit 1; }
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch .venv/ready; echo "The virtual environment is ready."

run: .venv/ready ## Serve workflows/ with a local tenant (postern dev)
	@.venv/bin/postern dev

# The tests start Python hundreds of times, so its compiled modules are kept, even if the environment turns that off.
unexport PYTHONDONTWRITEBYTECODE
CORES = $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
# Tests also wait for processes and clocks, so there are two workers more than cores. Fast tests wait for nothing.
WORKERS ?= $(shell expr $(CORES) + 2)
PYTEST = .venv/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

test: .venv/ready ## Run the tests, on all cores, in a random order (ARGS="--randomly-seed=N" repeats an order)
	@$(PYTEST) --durations 20 $(ARGS)

test-fast: .venv/ready ## Run the tests that start no process, no PostgreSQL and no local tenant, without slow ones
	@$(PYTEST) --numprocesses $(CORES) --fast --durations 5 $(ARGS)

soak: .venv/ready ## Run kills, outages, floods, fuzzing and random data at full length (about two hours)
	@$(PYTEST) --soak --verbose --durations 0 $(ARGS)

check: .venv/ready ## Check format, lint, types and import layers
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

check-deploy: .venv-deploy/ready ## Check what is in deploy/ (needs kubectl, nginx, promtool, shellcheck)
	@.venv-deploy/bin/python -m deploy.checks

# The linters have a separate environment, so that their packages do not mix with the server's. uv is fast. If it finds
# no packages, pip may find them through its own configuration.
LINTERS := --require-hashes --requirement deploy/checks/requirements.lock
.venv-deploy/ready: deploy/checks/requirements.lock | .venv/ready
	@echo "Making the linters' environment .venv-deploy ..."
	@.venv/bin/uv venv --quiet --clear --python .venv/bin/python .venv-deploy
	@.venv/bin/uv pip install --quiet --system-certs --python .venv-deploy/bin/python $(LINTERS) \
	  || $(PIP) --python .venv-deploy/bin/python install --quiet $(LINTERS)
	@touch .venv-deploy/ready

bench: .venv/ready ## Compare the speed with bare Starlette (needs wrk)
	@.venv/bin/python -m tests.bench

mcp-conformance: .venv/ready ## Run the conformance tests of the Model Context Protocol (needs npm and its registry)
	@.venv/bin/python -m tests.mcp.conformance

UV_COMPILE := .venv/bin/uv pip compile --quiet --system-certs --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

lock: .venv/ready ## Resolve the dependencies again into requirements.lock and the locks in deploy/
	@$(UV_COMPILE) --extra dev --upgrade pyproject.toml --output-file requirements.lock
	@$(UV_COMPILE) --extra durable --extra gateway --extra mcp --extra otel --extra postgres --constraint requirements.lock pyproject.toml --output-file deploy/container/requirements.lock
	@echo hatchling | $(UV_COMPILE) --constraint requirements.lock - --output-file deploy/container/build.lock
	@$(UV_COMPILE) --upgrade deploy/checks/requirements.in --output-file deploy/checks/requirements.lock
