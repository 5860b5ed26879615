# One virtual environment, .venv, made once and again when pyproject.toml or constraints.txt change.
DEVICE ?= raspberrypi4
JOBS ?= 2
NAME ?= priors
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: help search test check bench chaos bench-report

help:
	@echo 'make search DEVICE=raspberrypi4   from a chip to its Pareto front; ARGS="--max-latency 25ms" adds options of nas search'
	@echo 'make test                         the tests, on JOBS=2 processes; ARGS="-k front" adds options of pytest'
	@echo 'make check                        ruff and mypy'
	@echo 'make bench NAME=priors            a benchmark of the project, into docs/benchmarks; make bench-report writes BENCHMARKS.md'
	@echo 'make chaos                        searches that are killed, half an hour of it, into docs/benchmarks'
	@echo 'PYTHON=python3.12                 makes .venv with another Python; it must be 3.11 or newer'

search: .venv/.search
	@.venv/bin/nas search --device '$(DEVICE)' $(ARGS)

# One torch and BLAS thread a process: two processes with two threads each are slower than this on two cores. Files in the order of their
# names, so that those with few long tests (bench, browser, end_to_end) do not come last, one process waiting for the other.
test: .venv/.dev
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: .venv/.dev
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

bench: .venv/.search
	@.venv/bin/nas bench $(NAME) --out docs/benchmarks/$(NAME).json $(ARGS)

chaos: .venv/.dev
	@.venv/bin/nas bench chaos --out docs/benchmarks/chaos.json $(ARGS)

bench-report: .venv/.search
	@.venv/bin/nas bench report

.venv/bin/python:
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo 'hwnas needs Python 3.11 or newer and found $(or $(PYTHON),none): make $(MAKECMDGOALS) PYTHON=/path/to/python3.11' >&2; exit 2; }
	@'$(PYTHON)' -m venv .venv || { rm -rf .venv; exit 2; }

.venv/.search: pyproject.toml constraints.txt | .venv/bin/python
	@echo 'installing hwnas[search] into .venv, a few minutes the first time ...'
	@$(PIP) '.[search]'
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	@echo 'installing hwnas[all,dev] into .venv, a few minutes the first time ...'
	@$(PIP) '.[all,dev]'
	@touch $@ .venv/.search
