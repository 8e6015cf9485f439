# Everything one does twice. Needs Python 3.11 or later and make; `make` alone lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup run test tests test-slow test-callbacks bench-torch lint format accuracy accuracy-full readme scaling plan-ranking bench bench-million kill-loop poison load fuzz fuzz-api audit calibrate openapi lock bench-lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: $(STAMP) ## create .venv with the locked packages and the traincast command

# --no-deps and --no-build-isolation: the lock alone decides what is installed, the build back end included.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

run: setup ## migrate, seed and serve on TRAINCAST_HOST:TRAINCAST_PORT (127.0.0.1:8000)
	@$(BIN)/traincast serve

# Two processes, one a dialect (tests/conftest.py); of each the linear algebra stays on one thread, for two would get into
# each other's way. What one has compiled is kept, wherever that is forbidden: tests start many processes.
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

# Side by side: in a fresh clone the types take half a minute of one processor, and tests often wait.
test: setup ## lint, types, architecture, tests on SQLite and PostgreSQL
	@$(MAKE) --no-print-directory --jobs 2 lint tests

tests: setup
	$(PYTEST) -m "not slow"

test-slow: setup ## what `make test` runs on one dialect for its length, on the other
	$(PYTEST) -m slow

# An environment of its own: PyTorch, and what people train with. Its CPU build is locked for CPython 3.11 on x86-64 Linux,
# and is where PyTorch's own index is: elsewhere name that to pip, or install `.[bench]` beside the PyTorch that is there.
BENCH_VENV  := .venv-bench
BENCH_STAMP := $(BENCH_VENV)/.installed

$(BENCH_STAMP): bench.lock pyproject.toml
	@test -x $(BENCH_VENV)/bin/python || $(PYTHON) -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement bench.lock
	@$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(BENCH_STAMP)

test-callbacks: $(BENCH_STAMP) ## callbacks, `traincast bench` and agents' tools with the real libraries (CPU)
	OMP_NUM_THREADS=1 $(BENCH_VENV)/bin/python -m pytest -m "not slow" tests/callbacks tests/bench tests/agents

bench-torch: $(BENCH_STAMP) ## training throughput of this machine in PyTorch (ARGS="resnet-50 --quick"; see traincast bench --help)
	@$(BENCH_VENV)/bin/traincast bench $(ARGS)

lint: setup ## style, types and the rules of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/biome ci --error-on-warnings service/web
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: setup ## rewrite the code in the house's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/biome check --write service/web

accuracy: setup ## held-out accuracy, cold and warm, and what moved (minutes; ARGS="--leave LINEAGE" for seconds)
	$(BIN)/python -m service.calibrations.accuracy $(ARGS)

accuracy-full: setup ## the same with chips and models left out, residual layers compared, goodput (an hour; ARGS=--help)
	$(BIN)/python -m service.calibrations.research $(ARGS)

readme: setup ## the shipped calibration's accuracy as the README's tables
	$(BIN)/python -m service.calibrations.accuracy --readme

scaling: setup ## how well the speed-up from more chips is predicted, lineages held out (a minute)
	$(BIN)/python -m tests.benchmarks.scaling_series

plan-ranking: setup ## how well layouts are ranked where they were measured, and how fast they are searched (minutes)
	$(BIN)/python -m tests.benchmarks.plan_ranking

bench: setup ## speed and memory of the engine and of the service
	$(BIN)/python -m tests.benchmarks.speed
	$(BIN)/python -m tests.benchmarks.batch_stream --lines 100_000
	$(BIN)/python -m tests.benchmarks.batch_stream --lines 100_000 --fields duration_hours,throughput.samples_per_second
	$(BIN)/python -m tests.benchmarks.import_rate
	$(BIN)/python -m tests.benchmarks.import_rate --postgresql
	$(BIN)/python -m tests.benchmarks.unit_costs

bench-million: setup ## how much slower a million measurements make it (half an hour; ARGS="--rows 100000 --database postgresql")
	$(BIN)/python -m tests.benchmarks.million $(ARGS)

kill-loop: setup ## submit without pause while the service is killed forty times
	TRAINCAST_TEST_KILLS=40 $(BIN)/python -m pytest tests/submissions/test_processes.py -k survives

poison: setup ## how far malicious submissions move predictions on clean sources
	$(BIN)/python -m tests.benchmarks.poison

load: setup ## two replicas under mixed traffic, a calibration swapped, one killed (ARGS="--minutes 3"; by default 10)
	$(BIN)/python -m tests.benchmarks.load $(ARGS)

fuzz: setup ## mutate files under the readers' coverage, a minute a reader (needs atheris; ARGS="csv --seconds 600")
	$(BIN)/python -m tests.fuzz $(ARGS)

fuzz-api: setup ## turn the API's description against the service (minutes; ARGS="--max-examples 100 --postgresql")
	$(BIN)/python -m tests.fuzz.api $(ARGS)

# Told apart from findings: where nobody answers for vulnerabilities, nothing was audited.
audit: setup ## known vulnerabilities of the locked packages (asks the Python packaging advisory database)
	@$(BIN)/pip-audit --strict --requirement server.lock --disable-pip --require-hashes $(ARGS) || \
		{ echo "pip-audit failed: findings are listed above; without a list, its service could not be reached."; exit 1; }

calibrate: setup ## fit the shipped calibration from the shipped measurements
	$(BIN)/traincast calibrate

openapi: setup ## refresh openapi/openapi.json from the application
	$(BIN)/python -m service.openapi

UV_COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --extra server --extra mcp --extra telemetry --extra build

lock: setup ## resolve pyproject.toml anew into requirements.lock and server.lock
	$(UV_COMPILE) --upgrade --extra dev --output-file requirements.lock pyproject.toml
	$(UV_COMPILE) --constraint requirements.lock --no-annotate --output-file server.lock pyproject.toml

bench-lock: setup ## resolve the environment of test-callbacks and bench-torch into bench.lock
	printf 'torch==2.13.0+cpu\n' | $(UV_COMPILE) --no-universal --extra bench --group training --no-annotate \
		--constraint requirements.lock --constraint - --output-file bench.lock pyproject.toml

clean: ## remove the environment, caches and build outputs
	rm -rf $(VENV) $(BENCH_VENV) build dist htmlcov .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
