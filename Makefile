# Every target installs what it needs into .venv, once. `make` alone lists them.
# A chapter is named by CH=colide or CH=statistics/foundations, an interpreter by PYTHON=python3.12.

PYTHON ?= python3
EDITION ?= reader

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCKED := --constraint book/constraints.txt
NOTEBOOK := $(if $(CH),$(wildcard chapters/*/$(CH).ipynb chapters/$(CH).ipynb))
TESTED := $(if $(CH),tests/test_contract.py $(NOTEBOOK),tests chapters)

export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help book serve run test lab lint lock

help:
	@echo 'make book    render the book from the stored outputs   (EDITION=instructor: with all solutions)'
	@echo 'make serve   the same, and open it in a browser'
	@echo 'make run     run chapters anew and store their outputs (CH=colide: this one only)'
	@echo 'make test    run all tests and every notebook          (CH=colide: this chapter only)'
	@echo 'make lab     JupyterLab with the chapters'
	@echo 'make lint    style and types'

book: .venv/site.stamp
	$(BIN)/python -m book.tools.site --edition $(EDITION)

serve: book
	$(BIN)/python -m book.tools.serve _build/$(EDITION)/html

run: .venv/dev.stamp
	$(BIN)/python -m book.tools.run $(CH)

# One thread per kernel and worker: they run side by side.
test: export OMP_NUM_THREADS = 1
test: export MKL_NUM_THREADS = 1
test: export OPENBLAS_NUM_THREADS = 1
test: export NUMBA_NUM_THREADS = 1
test: export TQDM_DISABLE = 1
test: export NG_EXPLORE = frames
test: .venv/dev.stamp
	$(if $(CH),$(if $(filter 1,$(words $(NOTEBOOK))),,$(error CH=$(CH) names no chapter or several; expected one: <part>/<slug>)))
	$(BIN)/python -m pytest -q -rfEs -n logical --dist loadscope --nbval-lax --nbval-current-env $(TESTED) \
	  $(if $(CH),-k '$(patsubst chapters/%.ipynb,%,$(NOTEBOOK)) or $(notdir $(NOTEBOOK))')

lab: .venv/dev.stamp
	$(BIN)/jupyter lab --notebook-dir=chapters

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/pip.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	  "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

.venv/site.stamp: .venv/pip.stamp pyproject.toml book/constraints.txt
	@echo 'Installing what renders the book into .venv'
	$(PIP) install $(LOCKED) --group site
	@touch $@

# torch first: it pins its CUDA packages, and pip keeps what is installed.
.venv/dev.stamp: .venv/pip.stamp pyproject.toml book/constraints.txt
	@echo 'Installing nglib and everything that runs and tests it into .venv; torch alone may take minutes'
	$(PIP) install $(LOCKED) torch
	$(PIP) install $(LOCKED) --group site --editable '.[dev]'
	@touch $@ .venv/site.stamp

# The versions that were tried together. Left out: torch and what it brings from NVIDIA, whose builds differ by machine.
lock: .venv/dev.stamp
	{ echo '# Versions tried together; every target of the Makefile installs under them. Written by: make lock'; \
	  echo '# Without torch, torchvision and the cuda and nvidia packages: torch itself says which ones its build needs.'; \
	  $(PIP) freeze --exclude-editable | grep -viE '^(torch|torchvision|triton|cuda-[^=]*|nvidia-[^=]*)([=@ ]|$$)'; \
	} > book/constraints.new
	mv book/constraints.new book/constraints.txt
