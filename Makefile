# `make demo` and `make test` need Python >= 3.11 and make, nothing else: everything is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_READY := $(VENV)/.ready-run
DEV_READY := $(VENV)/.ready-dev
ATTACK_READY := $(VENV)/.ready-attack
DEMO_FLAGS ?=
PROTOC = PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m grpc_tools.protoc -Ipura/wire/_pb=proto/pura/v1 pura/wire/_pb/pura.proto

.PHONY: help demo attack-demo test lint format proto proto-check bench-micro clean

help:
	@echo "make demo         the whole job on real photos: keys, two servers, enrol, identify, verify"
	@echo "make attack-demo  attacks on plaintext and encrypted deployments, on the demo's photos; under ten minutes"
	@echo "make test         lint, types, layers, generated code, tests"
	@echo "make lint         the checks of make test without the tests"
	@echo "make format       rewrite the sources as the linter wants them"
	@echo "make proto        regenerate pura/wire/_pb from proto/"
	@echo "make bench-micro  time the primitives and one published query"
	@echo "make clean        remove what the other targets made"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	@echo "==> making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# `touch` on the interpreter's link would change another file: the stamps are files of their own
$(RUN_READY): pyproject.toml | $(BIN)/python
	@echo "==> installing Pura and what it needs (some 400 MB on disk; a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(DEV_READY): pyproject.toml | $(BIN)/python
	@echo "==> installing Pura, its extras and the test tools (some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==2.13.0" || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --index-url https://download.pytorch.org/whl/cpu torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@ $(RUN_READY)

demo: $(RUN_READY)
	@$(BIN)/pura demo $(DEMO_FLAGS)

$(ATTACK_READY): pyproject.toml | $(BIN)/python
	@echo "==> installing Pura and the attacks (torch for CPUs; a minute or two)"
	@$(BIN)/python -c "import torch" 2>/dev/null || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==2.13.0" || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --index-url https://download.pytorch.org/whl/cpu torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[attack]"
	@touch $@ $(RUN_READY)

attack-demo: $(ATTACK_READY)
	@$(BIN)/pura bench security --demo --out attack-demo/report.html --work attack-demo $(DEMO_FLAGS)

test: lint
	$(BIN)/pytest

lint: $(DEV_READY) proto-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV_READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(DEV_READY)
	$(PROTOC) --python_out=. --grpc_python_out=. --mypy_out=quiet:. --mypy_grpc_out=quiet:.

proto-check: $(DEV_READY)
	@echo "generated code equals proto/"
	@out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && \
	  $(PROTOC) --python_out=$$out --grpc_python_out=$$out --mypy_out=quiet:$$out --mypy_grpc_out=quiet:$$out && \
	  diff -r -x __init__.py -x __pycache__ "$$out/pura/wire/_pb" pura/wire/_pb

bench-micro: $(DEV_READY)
	$(BIN)/python -m pura_bench.micro

clean:
	rm -rf $(VENV) demo-out attack-demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
