# `make demo` and `make test` need Python >= 3.11 and make, nothing else: everything is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_READY := $(VENV)/.ready-run
DEV_READY := $(VENV)/.ready-dev
DESK_READY := $(VENV)/.ready-desk
ATTACK_READY := $(VENV)/.ready-attack
RELEASE_READY := $(VENV)/.ready-release
DOCS_READY := $(VENV)/.ready-docs
# everything that is installed is named with its hash in requirements/, but torch: its builds differ from place to place
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# the tests start hundreds of processes, which would compile all of the sources again
unexport PYTHONDONTWRITEBYTECODE
DEMO_FLAGS ?=
VIEWS_FLAGS ?= --rounds 60
PROTOC = PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m grpc_tools.protoc -Ipura/wire/_pb=proto/pura/v1 pura/wire/_pb/pura.proto

.PHONY: help demo desk attack-demo test lint format proto proto-check bench-micro lock licences sbom dist docs coverage views clean

help:
	@echo "make demo         the whole job on real photos: keys, two servers, enrol, identify, verify"
	@echo "make desk         a page to enrol, identify and verify, on the demo's deployment: http://127.0.0.1:8735/"
	@echo "make attack-demo  attacks on plaintext and encrypted deployments, on the demo's photos; under ten minutes"
	@echo "make test         lint, types, layers, generated code, tests"
	@echo "make lint         the checks of make test without the tests"
	@echo "make format       rewrite the sources as the linter wants them"
	@echo "make proto        regenerate pura/wire/_pb from proto/"
	@echo "make bench-micro  time the primitives and one published query"
	@echo "make lock         fix the versions and hashes of all that is installed again, in requirements/"
	@echo "make licences     the licence of every package that Pura installs"
	@echo "make sbom         a CycloneDX bill of materials of a server, in dist/"
	@echo "make dist         wheel and sdist in dist/, checked and installed in a clean environment"
	@echo "make docs         these pages and the API reference in site/, every link checked"
	@echo "make coverage     the tests with coverage of pura, servers and clients, their processes too"
	@echo "make views        the long run of the tests that no server's view can be told from a simulated one"
	@echo "make clean        remove what the other targets made"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	@echo "==> making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# `touch` on the interpreter's link would change another file: the stamps are files of their own
$(RUN_READY): pyproject.toml requirements/run.lock | $(BIN)/python
	@echo "==> installing Pura and what it needs (some 400 MB on disk; a minute or two)"
	@$(PIP) --require-hashes -r requirements/build.lock -r requirements/run.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(DEV_READY): pyproject.toml requirements/dev.lock | $(BIN)/python
	@echo "==> installing Pura, its extras and the test tools (some minutes the first time)"
	@$(PIP) "torch==2.13.0" || $(PIP) --index-url https://download.pytorch.org/whl/cpu torch
	@$(PIP) --require-hashes -r requirements/build.lock -r requirements/dev.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@ $(RUN_READY) $(DESK_READY)

$(DESK_READY): pyproject.toml requirements/desk.lock | $(BIN)/python
	@echo "==> installing Pura and its desk (a minute or two)"
	@$(PIP) --require-hashes -r requirements/build.lock -r requirements/desk.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@ $(RUN_READY)

desk: $(DESK_READY)
	@$(BIN)/pura desk --demo demo-out --open

demo: $(RUN_READY)
	@$(BIN)/pura demo $(DEMO_FLAGS)

$(ATTACK_READY): pyproject.toml requirements/run.lock requirements/attack.lock | $(BIN)/python
	@echo "==> installing Pura and the attacks (torch for CPUs; a minute or two)"
	@$(BIN)/python -c "import torch" 2>/dev/null || $(PIP) "torch==2.13.0" || \
	  $(PIP) --index-url https://download.pytorch.org/whl/cpu torch
	@$(PIP) --require-hashes -r requirements/build.lock -r requirements/attack.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@ $(RUN_READY)

attack-demo: $(ATTACK_READY)
	@$(BIN)/pura bench security --demo --out attack-demo/report.html --work attack-demo $(DEMO_FLAGS)

test: lint
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder --durations=20 $(TESTS)

lint: $(DEV_READY) proto-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m bandit -q -r -c pyproject.toml pura servers clients bench

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

$(RELEASE_READY): pyproject.toml | $(DEV_READY)
	@$(PIP) -e ".[release]"  # the tools that write the lock files cannot be taken from them
	@touch $@

# an environment of their own: they read the sources and import nothing
$(DOCS_READY): requirements/docs.lock | $(BIN)/python
	@$(BIN)/python -m venv $(VENV)/docs
	@$(VENV)/docs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.lock
	@touch $@

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade --no-annotate \
  --custom-compile-command "make lock"
LOCK = $(COMPILE) --override requirements/without-torch.txt pyproject.toml

lock: $(RELEASE_READY)
	$(COMPILE) requirements/build.txt --output-file requirements/build.lock
	$(LOCK) --output-file requirements/run.lock
	$(LOCK) --extra desk --output-file requirements/desk.lock
	$(LOCK) --extra attack --output-file requirements/attack.lock
	$(LOCK) --extra dev --output-file requirements/dev.lock
	$(COMPILE) requirements/docs.txt --output-file requirements/docs.lock

licences: $(RELEASE_READY)
	$(BIN)/pip-licenses --from=mixed --order=license --with-urls

sbom: $(RELEASE_READY)
	@mkdir -p dist
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml requirements/run.lock --output-file dist/sbom.json

# the wheel is built from the sdist, so both are tried
dist: $(RELEASE_READY)
	$(BIN)/hadolint deploy/Dockerfile
	rm -rf dist build
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	@clean=$$(mktemp -d) && trap 'rm -rf "$$clean"' EXIT && $(PYTHON) -m venv "$$clean" && \
	  "$$clean/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r requirements/run.lock && \
	  "$$clean/bin/pip" install --quiet --disable-pip-version-check --no-deps dist/*.whl && \
	  "$$clean/bin/pip" check && cd "$$clean" && bin/pura --version && bin/pura-server --help >/dev/null && \
	  bin/python -m pura_server --help >/dev/null && bin/pura keygen --help >/dev/null
	$(MAKE) --no-print-directory sbom
	cd dist && sha256sum *.whl *.tar.gz sbom.json > SHA256SUMS

docs: $(DOCS_READY)
	NO_MKDOCS_2_WARNING=1 $(VENV)/docs/bin/mkdocs build --strict --quiet

coverage: $(DEV_READY)
	@$(PIP) -e ".[coverage]"
	@mkdir -p .coverage && rm -f .coverage/*
	-$(BIN)/coverage run -m pytest $(TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

views: $(DEV_READY)
	PYTHONPATH=tests $(BIN)/python -m views $(VIEWS_FLAGS)

bench-micro: $(DEV_READY)
	$(BIN)/python -m pura_bench.micro

clean:
	rm -rf $(VENV) demo-out attack-demo build dist site .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
