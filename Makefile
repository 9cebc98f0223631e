# The two commands of the README are `make demo` and `make test`; both do all their own set-up.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -q -p no:cacheprovider
STAMP := $(VENV)/.installed

.PHONY: help install demo check test soak bench format generate images clean

help: ## Show this list.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## Make .venv with everything.

$(STAMP): constraints.txt pyproject.toml clients/python/pyproject.toml converters/pyproject.toml executors/sdk/pyproject.toml
	@bash .ci/prerequisites.sh
	@test -x $(BIN)/python || python3 -m venv $(VENV)
	@echo "installing into $(VENV) (about two minutes the first time)"
	@$(BIN)/python .ci/torch_build.py
	@$(BIN)/pip install -q -c constraints.txt -e ./clients/python -e ./converters -e ./executors/sdk -e '.[all,dev]'
	@touch $(STAMP)

demo: install ## Go the whole way once: pictures to a model on a device.
	@$(BIN)/lode demo

check: install ## Format, lint, types, imports, protos, house rules, unit and contract tests (≤ 3 minutes).
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code proto
	@if git describe --tags --abbrev=0 >/dev/null 2>&1; then \
	  $(BIN)/buf breaking --against ".git#tag=$$(git describe --tags --abbrev=0)"; fi
	$(BIN)/python proto/generate.py --check
	$(BIN)/python clients/python/generate_blocking.py --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -n 2 tests/house tests/unit tests/contract

test: check ## make check, then integration and end-to-end tests with coverage (≤ 15 minutes).
	$(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder tests/integration tests/e2e --durations=10 --cov --cov-report=term:skip-covered -m "not soak"

soak: install ## Long and random; LODE_SOAK_SEED and LODE_SOAK_SHARE (0 to 1) choose a part.
	$(PYTEST) tests/soak tests/e2e -m soak -s

bench: install ## Measure one area: make bench AREA=control_plane.
	@test -n "$(AREA)" || { echo "say which: make bench AREA=..., one of:"; ls benchmarks/*.py | xargs -n1 basename -s .py; exit 2; }
	@$(BIN)/python benchmarks/$(AREA).py

format: install ## Format the code and the protos.
	$(BIN)/ruff format -q .
	$(BIN)/ruff check -q --fix .
	$(BIN)/buf format -w proto

generate: install ## Generate the stubs and the blocking client.
	$(BIN)/python proto/generate.py
	$(BIN)/python clients/python/generate_blocking.py

images: install ## Build the docker images of the executors.
	@bash executors/images/build.sh

clean: ## Remove what was made, the environment too.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
