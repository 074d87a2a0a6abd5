# make run        installs what is missing, starts the engine of this machine, opens the screen
# make test       installs what is missing, checks the code, runs every test
.POSIX:
.PHONY: setup setup-test run test unit e2e bench soak lint format screenshots lock

SUDO = $$( [ "$$(id -u)" = 0 ] || echo sudo )
BIN = .venv/bin
UNIT = not e2e and not engine and not soak and not bench

setup:
	@.ci/setup run

setup-test:
	@.ci/setup test

run: setup
	@$(SUDO) $(BIN)/kvtui local start
	@$(SUDO) $(BIN)/kvtui

test: setup-test lint
	@.ci/test

unit: setup-test
	@$(BIN)/pytest -q -n 2 -m "$(UNIT)"

e2e: setup-test
	@$(SUDO) $(BIN)/pytest -q -m "(e2e or engine) and not soak and not bench"

bench: setup-test
	@$(SUDO) $(BIN)/pytest -q -s -m bench tests/bench

soak: setup-test
	@$(SUDO) $(BIN)/pytest -q -s -m soak --timeout 7200

lint: setup-test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup-test
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

screenshots: setup-test
	@$(SUDO) $(BIN)/python -m tests.screenshots.make

lock:
	@.ci/lock
