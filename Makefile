PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
# $(call alive,what,command): run a silent command; a line every eight seconds says what runs, and for how long.
alive = echo "$(1)"; (s=0; while sleep 8 >/dev/null 2>&1; do s=$$((s+8)); echo "  … $(1), $$s s"; done) & beat=$$!; \
	$(2); code=$$?; kill $$beat; exit $$code
.PHONY: help setup demo test fast check bench serve clean

help: ## Show this help
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/ -/'

$(VENV)/.installed: pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@$(call alive,installing torch,$(BIN)/pip install -q -c constraints.txt torch==2.13.0)
	@$(call alive,installing the other libraries,$(BIN)/pip install -q -c constraints.txt -e ".[dev]")
	touch $@

setup: $(VENV)/.installed ## Install into .venv

demo: setup ## The main job from nothing: raw files in, a personalized HTTP answer out
	$(BIN)/customer360 demo

test: setup ## All tests: the fast part, then those that need Ray, MLflow or Splink; a failure stops neither
	@$(BIN)/pytest -n 2 --dist loadfile -m "not slow"; fast=$$?; \
	$(BIN)/pytest -n 2 --dist loadfile -m slow && exit $$fast

fast: setup ## The fast tests alone
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

check: setup ## Lint, format, types, architecture, documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.links $(BIN)/mypy --explicit-package-bases -p customer360
	$(BIN)/pytest tests/test_architecture.py tests/test_docs.py

bench: setup ## Benchmarks: ratios measured in one run
	$(BIN)/python tests/bench/gold.py
	$(BIN)/python tests/bench/ingest.py
	$(BIN)/python tests/bench/identity.py

serve: setup ## Start the HTTP application
	$(BIN)/customer360 serve

clean: ## Remove what tests and tools made; lake, keys and decisions stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache
	@echo "data/ stays: it may hold a real lake, keys and decisions; rm -rf data removes it"
