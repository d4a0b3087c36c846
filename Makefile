# Two commands do everything on a fresh machine: `make demo` and `make test`. Each sets up its own .venv first.
SHELL := /bin/bash
PY := .venv/bin/python
# processes that share the tests; a test file stays with one of them, since its tests share fits
JOBS ?= 2
# threads of torch that wait shall sleep: where others compute too, waiting awake makes a fit several times slower
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test test-all lab bench lint audit docs setup clean help
.DEFAULT_GOAL := help

help:            ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup:           ## create or refresh .venv (quick when nothing changed)
	@bash scripts/setup.sh

demo: setup      ## search, load, assimilate, forecast and score the sample, with no network
	@$(PY) -m s2koop.demo --output demo_output

test: setup      ## the quick suite, under ten minutes on two cores
	@$(PY) -m pytest -n $(JOBS) --dist loadfile

test-all: setup  ## the quick suite and the slow and browser tests
	@$(PY) -m pytest -n $(JOBS) --dist loadfile -m "not network"

lab: setup       ## open the notebooks in JupyterLab
	@$(PY) -m jupyterlab notebooks/00_start.ipynb

bench: setup     ## run every benchmark whole and write docs/results/
	@$(PY) -m benchmarks

lint: setup      ## ruff and mypy
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

audit: setup     ## known vulnerabilities of what is installed; asks the package index
	@$(PY) -m venv .venv/audit && .venv/audit/bin/python -m pip install -q --disable-pip-version-check pip-audit
	@.venv/audit/bin/pip-audit --skip-editable --progress-spinner off \
		--path "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

fuzz: setup      ## try a hundred thousand spoiled items, catalogues, arguments, models and metadata
	@$(PY) -m tests.trust.fuzz --inputs 100000

docs: setup      ## the pages into docs/_build/html; no network, no notebook is run, a warning is an error
	@$(PY) -m sphinx -W --keep-going -b html docs docs/_build/html

clean:           ## remove the environment and what the demo wrote
	rm -rf .venv demo_output docs/_build docs/notebooks docs/reference docs/gallery
