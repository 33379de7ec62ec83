# `make demo` and `make test` are all a user needs; both reuse .venv while pyproject.toml and constraints.txt stay the same.
# `make zoo` runs every model of examples/zoo by both exporters, those of the extra `zoo` among them, in a .venv-zoo of its own:
# beside torchvision's wheel from PyPI and a CPU build of torch, transformers loads only after examples/zoo is imported.
PYTHON ?= python3
VENV := .venv
EXTRAS := dev
CONSTRAINTS := constraints.txt
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Bytecode is written even where the environment forbids it: each of the hundreds of pytest runs would compile the plugin.
unexport PYTHONDONTWRITEBYTECODE

# Tests that export nothing: rules on small graphs, and what is text or figures.
QUICK := tests/graph tests/rewriting tests/shapes \
	tests/snapshots/test_snapshot_text.py tests/report/test_matrix.py tests/report/test_terminal.py \
	tests/report/test_merging.py tests/test_bounds.py tests/test_model_case.py tests/test_result.py examples/test_matrix.py

.PHONY: demo demo-run runtimes test suite quick check versions versions-run docs zoo zoo-run clean

demo:
	@echo "make demo leaves a virtual environment in $(VENV) and the kept exports of two models in .modelcheck, about"
	@echo "1.5 GB each; a second run takes them from there. make clean removes both."
	@$(MAKE) --no-print-directory demo-run

demo-run: $(STAMP)
	$(BIN)/pytest --modelcheck -v examples/test_bert_base.py examples/test_resnet50.py

# The checks, each of which takes one core, run beside the tests.
test: $(STAMP)
	$(MAKE) --no-print-directory -j 2 check suite

suite: $(STAMP)
	$(BIN)/pytest --modelcheck -n 2 examples/
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile tests

# The tests of all runtimes, those that need an environment of their own (LiteRT: CPython 3.12) among them.
LITERT := python3.12
runtimes: $(STAMP)
	$(BIN)/python -m pytest_modelcheck runtimes install onnxruntime-web
	$(BIN)/python -m pytest_modelcheck runtimes install executorch
	$(BIN)/python -m pytest_modelcheck runtimes install litert --python $(LITERT)
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) -e '.[dev,nncf]'
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 tests/runtimes tests/accuracy/test_in_runtime.py tests/gates/test_expect_runtime.py \
		tests/gates/test_expect_quantization.py

zoo:
	$(MAKE) VENV=.venv-zoo EXTRAS=dev,zoo zoo-run

zoo-run: $(STAMP)
	MODELCHECK_ZOO=full $(BIN)/pytest --modelcheck -n 2 --modelcheck-report .modelcheck/zoo.json examples/

# What to run after every change: under a minute of processor time with the caches of ruff and mypy warm.
quick: check
	$(BIN)/pytest -q $(QUICK)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini

# What users meet first, with the lowest versions that pyproject.toml allows, and on another Python (NEWER=python3.14).
EDGE := tests/snapshots tests/interface tests/numbers tests/test_configuration.py tests/test_packaging.py \
	tests/test_documents.py::test_the_readme_example_records_once_and_is_green_then
NEWER := python3.13
versions:
	$(MAKE) VENV=.venv-lowest CONSTRAINTS=ci/lowest.txt EXTRAS=onnxruntime,examples,test versions-run
	$(MAKE) VENV=.venv-newer PYTHON=$(NEWER) EXTRAS=onnxruntime,examples,test versions-run

versions-run: $(STAMP)
	$(BIN)/pytest -n 2 --dist loadfile $(EDGE)

# The pages of docs/ as a site; a page that is not listed, a dead link or an unknown name fails. The reference is read from
# the sources: neither the package nor its dependencies, torch among them, are installed.
DOCS := .venv-docs
docs: $(DOCS)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

$(DOCS)/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' > $(DOCS)/requirements.txt
	$(DOCS)/bin/python -m pip install --quiet -c $(CONSTRAINTS) -r $(DOCS)/requirements.txt
	touch $@

$(STAMP): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit("pytest-modelcheck needs CPython 3.11 or newer, found " + sys.version) if sys.version_info < (3, 11) else 0'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the versions of $(CONSTRAINTS) into $(VENV): some minutes the first time"
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) -e '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf .venv .venv-zoo .venv-docs .venv-lowest .venv-newer site .modelcheck .pytest_cache .mypy_cache .ruff_cache
