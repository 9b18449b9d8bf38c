# All set-up happens here: `make run` and `make test` need Python 3.11+, make, and (as root, on Debian) apt.
# A stamp file remembers each piece, so that a second call costs nothing.

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin

.PHONY: run test bench soak man clean

run: $(STAMP)
	@$(BIN)/python tools/demo.py

test: $(STAMP) $(VENV)/.test-tools
	$(BIN)/ruff check sockact tests bench tools
	$(BIN)/ruff format --check sockact tests bench tools
	$(BIN)/mypy
	$(BIN)/python -m pytest

bench: $(STAMP) $(VENV)/.bench-tools
	$(BIN)/python -m bench

# Simulated lives of the supervisor, as many as one likes: make soak RUNS=1000000 SEED=1
soak: $(STAMP)
	$(BIN)/python -m tests.simulation --runs $(or $(RUNS),10000000) $(if $(SEED),--seed $(SEED))

man: $(STAMP)
	$(BIN)/python tools/man.py

$(STAMP): pyproject.toml hatch_build.py sockact/runtime/_spawn.c tools/setup
	@PYTHON="$(PYTHON)" tools/setup venv $(VENV)
	@touch $@

$(VENV)/.test-tools: $(STAMP) tools/setup tools/test-packages.txt tests/guest/packages.txt
	@tools/setup packages tools/test-packages.txt tests/guest/packages.txt
	@$(BIN)/python tests/guest/guest.py --prepare || echo "no guest: its tests will be skipped"
	@touch $@

$(VENV)/.bench-tools: $(STAMP) tools/setup bench/packages.txt
	@tools/setup packages bench/packages.txt
	@touch $@

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
