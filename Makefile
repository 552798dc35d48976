# Everything a person does here is a target; `make help` lists them. Needs Linux or macOS, make and Python 3.11 or later
# with pip and venv. `uv` is used where it is on PATH (`make UV= demo` uses pip all the same).

VENV ?= .venv
PYTHON ?=
UV ?= $(shell command -v uv 2>/dev/null)
JOBS ?= 2
PACK := packs/gemma-3-270m
BIN := $(VENV)/bin
LOCK := constraints.txt pyproject.toml $(PACK)/pyproject.toml

# The pins hold for the build back-end too; each installer, and each age of pip, has its own name for that.
pins := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt UV_BUILD_CONSTRAINT=constraints.txt
ifneq ($(UV),)
# uv reads neither pip's settings nor its variables; where somebody set these two, they are meant for both.
make_venv = "$(UV)" venv --quiet --allow-existing --python "$$python" $(VENV)
install = $(pins) "$(UV)" pip install --quiet --python $(BIN)/python -c constraints.txt \
	$${PIP_INDEX_URL:+--default-index "$$PIP_INDEX_URL"} $${PIP_FIND_LINKS:+--find-links "$$PIP_FIND_LINKS"}
has_venv := import venv
else
make_venv = "$$python" -m venv $(VENV)
install = $(pins) $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input -c constraints.txt
has_venv := import venv, ensurepip
endif

.PHONY: help demo test test-all check fix docs bench clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1\t/p' Makefile | expand -t 16

demo: $(VENV)/.demo  ## install what is needed, read the example headlines, write report.html
	@$(BIN)/hooke analyze examples/headlines.txt --html report.html

test: $(VENV)/.dev  ## run the tests, all but the exhaustive ones; a worker more than cores, as tests wait for processes that they start
	@$(BIN)/python -m pytest -n $$(( $(JOBS) + 1 )) --dist worksteal -m "not exhaustive"

test-all: $(VENV)/.dev  ## run every test; two workers more, as many of these wait
	@$(BIN)/python -m pytest -n $$(( $(JOBS) + 2 )) --dist worksteal

check: $(VENV)/.dev  ## lint, formatting, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

fix: $(VENV)/.dev  ## repair what lint and formatting can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev  ## write the generated pages anew
	$(BIN)/python docs/generate.py

bench: $(VENV)/.dev  ## run the benchmarks that need nothing else; each prints one table
	@set -e; for name in analyze topics train suite train_gpu; do echo "== $$name"; $(BIN)/python "benchmarks/$$name.py"; done

clean:  ## remove .venv, caches and reports (downloaded and converted models stay)
	rm -rf $(VENV) build dist report.html .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests packs docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(VENV)/.made:
	@for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python); do \
		if "$$python" -c 'import sys; assert sys.version_info >= (3, 11); $(has_venv)' >/dev/null 2>&1; then \
			echo "making $(VENV) with $$python ($$("$$python" -c 'import platform; print(platform.python_version())'))"; \
			$(make_venv) && touch $@; exit $$?; \
		fi; \
	done; \
	echo "make: no Python 3.11 or later with pip and venv$(if $(PYTHON), under PYTHON=$(PYTHON)). Install one (on Debian or Ubuntu: apt install python3 python3-venv)," >&2; \
	echo "or name one: make PYTHON=/path/to/python3" >&2; exit 1

$(VENV)/.demo: $(VENV)/.made $(LOCK)
	@echo "installing hooke and the Gemma 3 270M pack, exact versions (about 600 MB the first time)"
	@$(install) -e '.[gemma]' -e $(PACK)
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@echo "installing what the tests and checks need"
	@$(install) -e '.[gemma,dev]' -e $(PACK)
	@touch $@
