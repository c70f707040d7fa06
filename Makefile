# Two commands need nothing but Python >= 3.11: `make demo` and `make test`. The others are for developers.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

export MPLBACKEND := Agg

.PHONY: help demo test check docs wheel-check constraints clean
.DELETE_ON_ERROR:

help:
	@echo "make demo         install, run the main job on 700 real blood cells, say where the report lies"
	@echo "make test         install with the test extras, run the whole suite"
	@echo "make check        format, lint, import contracts, types, shapes, docs"
	@echo "make docs         build the documentation alone"
	@echo "make wheel-check  build the wheel, run the demo from it in an empty folder without a network"
	@echo "make clean        remove what these commands made"

demo: $(VENV)/.run
	@mkdir -p demo
	@test -f demo/cells.h5ad || $(BIN)/cartogene datasets pbmc68k --out demo/cells.h5ad
	$(BIN)/cartogene run demo/cells.h5ad --out demo/results --overwrite
	@echo
	@echo "The report: $(CURDIR)/demo/results/report.html"

# One thread per worker: two workers that both take every core are slower than one.
test: export OMP_NUM_THREADS = 1
test: export NUMBA_NUM_THREADS = 1
test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2

check: $(VENV)/.check
	VENV=$(VENV) scripts/check format lint contracts types shapes docs

docs: $(VENV)/.check
	VENV=$(VENV) scripts/check docs

wheel-check:
	PYTHON=$(PYTHON) scripts/check_wheel

# Pin what is installed now (after `make test check` in a fresh .venv); +cpu and the like are local builds of one version.
constraints: $(VENV)/.test $(VENV)/.check
	@{ head -n 1 constraints.txt; $(PIP) freeze --exclude-editable | sed 's/+.*//' | sort -f; } > constraints.new
	@mv constraints.new constraints.txt

clean:
	rm -rf demo docs/_build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# What is installed in $(VENV), by purpose; each file is a stamp that says when.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Cartogene needs Python >= 3.11, found $$($(PYTHON) --version 2>&1); do: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "$(PYTHON) cannot make a virtual environment; install its venv package (Debian, Ubuntu: python3-venv)" >&2; exit 1; }
	@$(PIP) install -qq --upgrade 'pip>=25.1' # the first that knows --group
	@touch $@

$(VENV)/.run: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing Cartogene into $(VENV): about 2 GB, a minute or two ..."
	@$(PIP) install -qq --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing Cartogene and what its tests need into $(VENV): about 2 GB, a minute or two ..."
	@$(PIP) install -qq --constraint constraints.txt --editable '.[train,language,hub]' --group test
	@touch $@

$(VENV)/.check: $(VENV)/.test
	@echo "Installing what the checks need into $(VENV) ..."
	@$(PIP) install -qq --constraint constraints.txt --group check --group docs
	@touch $@
