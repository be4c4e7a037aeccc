# One command each. Needs Python 3.11 or newer with its venv module, and nothing else.
#   make run      serve the example on the embedded store      make test   run the tests
#   make check    everything a change must pass                make bench  measure
#   make soak     break a running cluster for some minutes; ARGS="faults --minutes 30" for longer,
#                 ARGS=--help for what else can be tried for long
#   make sdk-table  run Dapr's SDKs and publish what was seen in docs/sdk-compatibility.md
#   make lock     pin the dependencies again; ARGS=--upgrade takes the newest
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --custom-compile-command "make lock" --group build pyproject.toml $(ARGS)

.DEFAULT_GOAL := check
.PHONY: run test check lint types imports servers bench soak sdk-table lock wheel clean

run: $(VENV)/run.stamp
	mkdir -p .state
	$(BIN)/actorflow serve --app examples/order_processing.py --store sqlite:///.state/orders.db

test: $(VENV)/test.stamp servers
	$(BIN)/python -m pytest $(ARGS)

check: lint types imports servers
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: $(VENV)/dev.stamp
	$(BIN)/mypy

imports: $(VENV)/dev.stamp
	$(BIN)/lint-imports --no-logo

# Valkey comes with the test dependencies, Redis from the system. Without it its tests are skipped,
# with CI=true they fail.
servers:
	@command -v redis-server >/dev/null || echo "redis-server is missing: the tests on a real Redis" \
		"are skipped. Install it, on Debian: apt-get update && apt-get install redis-server"

bench: $(VENV)/test.stamp
	$(BIN)/python -m bench $(ARGS)

soak: $(VENV)/test.stamp
	$(BIN)/python -m tests.e2e.cluster.soak $(or $(ARGS),faults)

sdk-table: $(VENV)/test.stamp
	ACTORFLOW_SDK_TABLE=write $(BIN)/python -m pytest tests/sdk/test_scenarios.py $(ARGS)

lock: $(VENV)/dev.stamp
	$(BIN)/$(LOCK) -o requirements/run.txt
	$(BIN)/$(LOCK) --extra grpc -o requirements/grpc.txt
	$(BIN)/$(LOCK) --extra test -o requirements/test.txt
	$(BIN)/$(LOCK) --extra dev -o requirements/dev.txt

wheel: $(VENV)/test.stamp
	$(BIN)/python -m hatchling build -t wheel

clean:
	rm -rf $(VENV) .sdk .state dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# A stamp a lock file: an install runs again only when its lock or the project's metadata changed.
$(VENV)/%.stamp: requirements/%.txt pyproject.toml
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r $<
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@
