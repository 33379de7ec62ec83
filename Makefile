# `make demo` and `make test` are all a user needs; both reuse .venv while pyproject.toml and constraints.txt stay the same.
# `make zoo` runs every model of examples/zoo by both exporters, those of the extra `zoo` among them, in a .venv-zoo of its own:
# beside torchvision's wheel from PyPI and a CPU build of torch, transformers loads only after examples/zoo is imported.
PYTHON ?= python3
VENV := .venv
EXTRAS := dev
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check zoo zoo-run clean

demo: $(STAMP)
	$(BIN)/pytest --modelcheck examples/test_bert_base.py examples/test_resnet50.py

test: $(STAMP) check
	$(BIN)/pytest --modelcheck -n 2 examples/
	$(BIN)/pytest -n 2 --dist loadfile tests

zoo:
	$(MAKE) VENV=.venv-zoo EXTRAS=dev,zoo zoo-run

zoo-run: $(STAMP)
	MODELCHECK_ZOO=full $(BIN)/pytest --modelcheck -n 2 --modelcheck-report .modelcheck/zoo.json examples/

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("pytest-modelcheck needs CPython 3.11 or newer, found " + sys.version) if sys.version_info < (3, 11) else 0'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf .venv .venv-zoo .modelcheck .pytest_cache .mypy_cache .ruff_cache
