# make demo: a first descent, from nothing. make test: the tests. The rest is for developers.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-peers test-browser check bench format clean

demo: $(VENV)/.installed
	@$(BIN)/downslope fit digits --out demo/digits

test: $(VENV)/.dev
	@$(BIN)/pytest -m "not peers and not browser" -n 2

test-peers: $(VENV)/.peers
	@$(BIN)/pytest -m peers

test-browser: $(VENV)/.dev
	@$(BIN)/pytest -m browser

check: $(VENV)/.dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: $(VENV)/.peers
	@$(BIN)/python benchmarks/peers.py

format: $(VENV)/.dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Downslope into $(VENV) (once) ..."
	@$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@$(PIP) -e ".[dev]"
	@touch $@

$(VENV)/.peers: $(VENV)/.dev
	@$(PIP) -e ".[peers]"
	@touch $@
