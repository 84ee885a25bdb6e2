# The first call of `run` and of `test` installs what it needs into .venv; later calls go on at once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test config locks clean

help:
	@echo "make run     run the workflow with the default config (first call: installs into $(VENV))"
	@echo "make test    check style and types and run the tests"
	@echo "make config  write config/config.yaml, config/schema.json and docs/config.md anew"
	@echo "make locks   write envs/cuda.lock and envs/cpu.lock anew, from requirements.txt"
	@echo "make clean   remove $(VENV) and caches; results stay"
	@echo "PYTHON=python3.12 make run takes another Python (3.11 or newer)"

run: $(VENV)/run.stamp
	$(BIN)/snakemake --cores 4 --resources gpu=1

test: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakemake --lint
	$(BIN)/pytest -n 2 --dist loadfile

config: $(VENV)/run.stamp
	$(BIN)/python -m snakesteer.config.files

# requirements.txt names all but what torch brings along for CUDA.
LOCK := $(BIN)/python -m uv pip compile requirements.txt --quiet --python-version 3.11 \
  --python-platform x86_64-unknown-linux-gnu --generate-hashes --no-header --no-annotate

locks: | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(LOCK) --output-file envs/cuda.lock
	$(LOCK) --no-deps --no-emit-package torch --output-file envs/cpu.lock

clean:
	rm -rf $(VENV) .import_linter_cache .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11. Name a newer one: PYTHON=python3.12 make run"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.txt | $(BIN)/python
	@echo "Installing requirements.txt into $(VENV) (minutes, once) …"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/test.stamp: requirements-dev.txt $(VENV)/run.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
