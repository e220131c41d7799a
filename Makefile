# make demo: from a clean checkout to a query. make check: everything CI asks. `make help` lists the rest.
# PYTHON is the interpreter that .venv is made with; SOURCE and WAREHOUSE are what the demo loads, and where.

PYTHON ?= python3
SOURCE ?= sample_data/events
WAREHOUSE ?= warehouse

BIN := .venv/bin
# The two variables pin what pip builds the package with: the first for pip before 25.3, the second from then on.
INSTALL := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python -m pip install \
	--quiet --disable-pip-version-check -c constraints.txt
BUILT_OF := pyproject.toml constraints.txt build_scanner.py $(wildcard loader/scanner*.[ch])
TYPED := build_scanner.py $(sort $(dir $(wildcard loader/*.py tests/*.py benchmarks/*.py sample_data/*.py)))
# A process for each core. Tests of a module stay together, as they share what it sets up; long modules are not left to
# the end, where one core would wait for them.
PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder
DOCS := $(wildcard README.md docs/*.md)
# The docs hold the output of `loader --help`, so its width must not depend on the terminal.
COG := PATH="$(CURDIR)/$(BIN):$$PATH" COLUMNS=80 NO_COLOR=1 $(BIN)/cog

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test check format docs bench soak clean

help:
	@echo 'make demo    install into .venv, load $(SOURCE) into ./$(WAREHOUSE), query it'
	@echo 'make test    the tests, but for those that need a package index or a browser'
	@echo 'make check   formatting, lint, types, import rules, generated docs, all tests'
	@echo 'make format  put the formatting right        make docs  write the generated docs anew'
	@echo 'make bench   the benchmarks                  make soak  the long tests'
	@echo 'make clean   remove .venv, caches and builds; the warehouse stays'

# --- install ---------------------------------------------------------------------------------------------------------

# Only when there is no working interpreter in .venv, so there is nothing in it to keep.
$(BIN)/python:
	@$(PYTHON) -c 'pass' || { echo 'error: $(PYTHON) does not run. Install Python 3.11 or later,' \
		'or say which to use: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'error: loader needs Python 3.11' \
		"or later; $(PYTHON) is $$($(PYTHON) -V 2>&1). Say which to use: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'error: $(PYTHON) has no venv.' \
		'On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@echo 'making .venv'
	@$(PYTHON) -m venv --clear .venv || { rm -rf .venv; exit 1; }

$(BIN)/loader: $(BUILT_OF) | $(BIN)/python
	@echo 'installing loader into .venv'
	@$(INSTALL) --editable .
	@touch $@

.venv/dev: $(BUILT_OF) | $(BIN)/python
	@echo 'installing loader and the development tools into .venv'
	@$(INSTALL) --editable '.[dev]'
	@touch $@ $(BIN)/loader

# --- use -------------------------------------------------------------------------------------------------------------

# A second demo finds nothing new to load.
demo: $(BIN)/loader
	$(BIN)/loader run $(SOURCE) --warehouse $(WAREHOUSE)
	$(BIN)/loader query --warehouse $(WAREHOUSE) \
		'SELECT event, count(*) AS events FROM tracks GROUP BY event ORDER BY events DESC, event LIMIT 10'
	$(BIN)/loader explain user_id:temp-7f3a user_id:erp-55012 --warehouse $(WAREHOUSE)
	$(BIN)/loader query --warehouse $(WAREHOUSE) \
		'SELECT resolved_by, count(DISTINCT person_id) AS persons, count(*) AS events FROM resolved.tracks GROUP BY ALL ORDER BY ALL'

# --- develop ---------------------------------------------------------------------------------------------------------

test: .venv/dev
	@$(PYTEST)

check: .venv/dev
	@echo '== format'; $(BIN)/ruff format --check .
	@echo '== lint'; $(BIN)/ruff check .
	@echo '== types'; $(BIN)/mypy $(TYPED)
	@echo '== imports'; $(BIN)/lint-imports --no-logo
	@echo '== docs'; $(if $(DOCS),$(COG) --check --diff $(DOCS))
	@echo '== tests'; LOADER_TEST_ALL=1 $(PYTEST)

format: .venv/dev
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

docs: .venv/dev
	@$(COG) -r $(DOCS)

bench: .venv/dev
	@$(BIN)/python -m benchmarks.run $(ARGS)

soak: .venv/dev
	@$(BIN)/python -m pytest -m long -s

clean:
	@rm -rf .venv dist build *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	@find loader tests benchmarks sample_data -type d -name __pycache__ -prune -exec rm -rf {} +
