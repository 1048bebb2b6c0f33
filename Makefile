# Everything goes into .venv (the environment) and .tools (uv); `make clean` removes both.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
UV := .tools/uv/bin/uv
BIN := .venv/bin
STAMP := .venv/.ready

# Two test processes of one thread each: more gain nothing on small machines, as each imports torch.
PYTEST_FLAGS ?= -n 2 --durations 15

.PHONY: setup demo test check format lock clean page

setup: $(STAMP)

demo: $(STAMP)
	$(BIN)/likeness demo

test: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

check: $(STAMP)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

$(UV): requirements/uv.txt
	@test -n "$(PYTHON)" || { echo "error: no Python found; install Python 3.11 or newer." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than 3.11; run make PYTHON=/path/to/python3.11." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' || { echo "error: $(PYTHON) lacks venv; install it (python3-venv on Debian)." >&2; exit 1; }
	"$(PYTHON)" -m venv .tools/uv
	.tools/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

# Compiled at once: where Python may not write bytecode, every process would compile torch anew.
# The package itself is linked, not copied: an edited file counts at once.
$(STAMP): $(UV) requirements/dev.txt pyproject.toml
	@test -x $(BIN)/python || $(UV) venv --quiet --python "$(PYTHON)" .venv
	$(UV) pip sync --compile-bytecode --python $(BIN)/python --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

lock: $(UV)
	$(COMPILE) pyproject.toml --output-file requirements/runtime.txt
	$(COMPILE) pyproject.toml --group dev --constraint requirements/runtime.txt --output-file requirements/dev.txt

clean:
	rm -rf .venv .tools

# The studio's page; its result is kept with the sources, so that users need no Node.
page:
	cd web && npm ci --no-audit --no-fund && npm run build
