# Tandem. `make run` sets everything up and ends with a served recommendation; `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup setup-dev run stop status test lint format screenshot lock clean

PYTHON ?= python3
WORKERS ?= 2
export TANDEM_HOME ?= $(CURDIR)/.tandem
# Package caches stay inside the home too, unless a shared one is named: nothing else on the machine is touched.
export UV_CACHE_DIR ?= $(abspath $(TANDEM_HOME))/cache/uv
export UV_PYTHON_DOWNLOADS := never
export PIP_NO_CACHE_DIR ?= 1

# A stamp is named by the content of the locks that it installs: unchanged locks, nothing to do.
digest = $(shell cat $(1) | sha256sum | cut -c1-16)
BOOTSTRAP_STAMP := .venv/.stamps/bootstrap-$(call digest,requirements/bootstrap.txt)
PLATFORM_STAMP := .venv/.stamps/platform-$(call digest,requirements/platform.txt pyproject.toml)
DEV_STAMP := .venv/.stamps/dev-$(call digest,requirements/dev.txt pyproject.toml)
SERVING_STAMP := .venv-serving/.stamps/serving-$(call digest,requirements/serving.txt)
# Compiled at once, so that no first run pays for it; where PYTHONDONTWRITEBYTECODE is set, every run would.
INSTALL := .venv/bin/uv pip install --quiet --compile-bytecode --require-hashes

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

run: setup ## Start the platform, run the pipeline, serve. SOURCE=synthetic|movielens-1m|csv|... DATA=folder MAPPING=file MODEL=name
	@.venv/bin/tandem run $(if $(SOURCE),--source "$(SOURCE)") $(if $(DATA),--data "$(DATA)") \
		$(if $(MAPPING),--mapping "$(MAPPING)") $(if $(MODEL),--set "retrieval.model=$(MODEL)") $(ARGS)

stop: ## End the platform's own processes; state stays in TANDEM_HOME.
	@if [ -x .venv/bin/tandem ]; then .venv/bin/tandem stop; else echo "nothing is installed here, so nothing runs"; fi

status: setup ## Show addresses, DAG states, the champion and serving.
	@.venv/bin/tandem status

test: setup-dev ## Run the tests; TANDEM_DATA=folder adds those on real data, WORKERS=0 runs them in one process.
	@.venv/bin/python -m pytest -n $(WORKERS) --no-loadscope-reorder $(ARGS)

lint: setup-dev ## Check style, types, import directions and locks.
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo --cache-dir .import_linter_cache

format: setup-dev ## Rewrite the sources in the project's format.
	@.venv/bin/ruff check --fix-only --quiet . && .venv/bin/ruff format .

screenshot: setup-dev ## Take the pictures in docs/images from a running platform (needs chromium).
	@.venv/bin/python -m tests.support.take_screenshots

lock: setup-dev ## Resolve requirements/*.in again, with hashes; all groups agree with dev.
	@for group in bootstrap dev platform services serving spark; do \
		echo "locking $$group"; \
		case $$group in bootstrap|dev) also= ;; *) also="-c requirements/dev.txt" ;; esac; \
		.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
			$$also requirements/$$group.in -o requirements/$$group.txt || exit 1; \
	done

clean: stop ## Remove the environments. State in TANDEM_HOME stays.
	@rm -rf .venv .venv-serving

setup: $(PLATFORM_STAMP) $(SERVING_STAMP) ## Install the locked environments.

setup-dev: $(DEV_STAMP) $(SERVING_STAMP) ## Install them with the tools for tests and lint.

$(BOOTSTRAP_STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' || { \
		echo "Tandem needs Python 3.11 or 3.12; $$(command -v $(PYTHON) || echo $(PYTHON)) is $$($(PYTHON) -V 2>&1)." \
		"Install one and run: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv module is incomplete. On Debian run: apt-get install python3-venv" >&2; exit 2; }
	@echo "creating .venv with $$($(PYTHON) -V)"
	@[ -x .venv/bin/python ] || $(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@mkdir -p $(@D) && rm -f $(@D)/* && touch $@

$(PLATFORM_STAMP): $(BOOTSTRAP_STAMP)
	@echo "installing the locked environment of the platform into .venv"
	@VIRTUAL_ENV=.venv $(INSTALL) -r requirements/platform.txt
	@VIRTUAL_ENV=.venv .venv/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@rm -f $(@D)/platform-* && touch $@

$(DEV_STAMP): $(PLATFORM_STAMP)
	@echo "installing the tools for tests and lint into .venv"
	@VIRTUAL_ENV=.venv $(INSTALL) -r requirements/dev.txt
	@rm -f $(@D)/dev-* && touch $@

$(SERVING_STAMP): $(BOOTSTRAP_STAMP)
	@echo "installing the locked environment of serving into .venv-serving"
	@[ -x .venv-serving/bin/python ] || $(PYTHON) -m venv --without-pip .venv-serving
	@VIRTUAL_ENV=.venv-serving $(INSTALL) -r requirements/serving.txt
	@mkdir -p $(@D) && rm -f $(@D)/* && touch $@
