# `make demo` and `make test` are all a user needs; both reuse .venv while pyproject.toml and constraints.txt stay the same.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check clean

demo: $(STAMP)
	$(BIN)/pytest --modelcheck examples/

test: $(STAMP) check
	$(BIN)/pytest --modelcheck examples/
	$(BIN)/pytest -n 2 --dist loadfile tests

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("pytest-modelcheck needs CPython 3.11 or newer, found " + sys.version) if sys.version_info < (3, 11) else 0'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .modelcheck .pytest_cache .mypy_cache .ruff_cache
