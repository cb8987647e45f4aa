# make run     a shell on a daemon of its own; a script piped in is executed
# make test    the whole suite          make check   ruff, mypy, import-linter, clang-format, mandoc
# make bench   figures of this machine, beside Redis if it is there, and the charts in docs/ (ROUNDS=5 KEYS=1000000)
# make proto   kvd.v1 of gRPC, from the command classes
# make bench-gateways   each gateway beside a server of its kind that answers a constant; it needs wrk (ROUNDS=5)
# make dist    sdist and wheel in dist/   make deb     a Debian package
# make install-system   as root: kvd in /opt/kvd, its units, manual and configuration; make uninstall-system takes it away
# make clean   takes away what these made
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= .data
ROUNDS ?= 5
KEYS ?= 1000000
PROTO := kvd/gateways/grpc
# No I/O and no clock: every branch is tested.
PURE := kvd/errors.py,kvd/limits.py,kvd/commands/*,kvd/access.py,kvd/explain.py,kvd/wire.py,kvd/engine.py,kvd/staging.py,kvd/client/follower.py,kvd/client/inflight.py,kvd/client/lease.py,kvd/client/polling.py,kvd/client/probe.py,kvd/client/replica.py,kvd/client/snapshot.py,kvsh/words.py,kvsh/grammar/*,kvsh/render/*

.PHONY: proto run test long check bench bench-gateways coverage dist deb install-system uninstall-system clean

run: $(VENV)/installed
	@exec $(BIN)/kvsh --local $(DATA)

test: $(VENV)/installed-dev
	@$(BIN)/pytest

long: $(VENV)/installed-dev
	@$(BIN)/pytest -m long

coverage: $(VENV)/installed-dev
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run -m pytest
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report --fail-under=95
	@$(BIN)/coverage report --fail-under=100 --include='$(PURE)'

check: $(VENV)/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/clang-format --dry-run -Werror kvd/core/*.[ch] kvd/server/*.c bench/sink.c
	@if command -v cc >/dev/null; then cc -fsyntax-only -Wall -Wextra -Werror \
	    -I"$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')" kvd/core/*.c kvd/server/*.c; \
	else echo "a C compiler is missing, what is in C was not looked at: apt-get install gcc python3-dev" >&2; fi
	@sh conf/check-units.sh
	@if command -v mandoc >/dev/null; then mandoc -T lint -W warning man/*.[1578]; \
	else echo "mandoc is missing, the manual was not looked at: apt-get install mandoc" >&2; fi

# What gRPC's clients are made of, from the command classes; it is committed, and a test says when it is old.
proto: $(VENV)/installed-dev
	@$(BIN)/python -m kvd.gateways.grpc.proto >$(PROTO)/kvd_v1.proto
	@$(BIN)/python -m grpc_tools.protoc -I$(PROTO) --python_out=$(PROTO) kvd_v1.proto kvs2.proto

bench: $(VENV)/installed
	@$(BIN)/python bench/compare.py $(ROUNDS)
	@$(BIN)/python bench/bulk.py $(ROUNDS)
	@$(BIN)/python bench/large.py $(KEYS)
	@$(BIN)/python bench/watchers.py $(ROUNDS)
	@$(BIN)/python bench/sweep.py $(KEYS)

bench-gateways: $(VENV)/installed-dev
	@$(BIN)/python bench/gateway_http.py $(ROUNDS)
	@$(BIN)/python bench/gateway_grpc.py $(ROUNDS)
	@$(BIN)/python bench/gateway_tcp.py $(ROUNDS)

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "kvd needs Python 3.11 or newer: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "kvd needs Python 3.11 or newer, $(PYTHON) is older: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv is missing: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python pyproject.toml $(wildcard kvd/core/*.[ch] kvd/server/*.c)
	@echo "installing kvd into $(VENV) ..." >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable . >&2
	@$(BIN)/python -m compileall -q kvd kvsh # also where Python is told not to: a command starts 20 ms sooner
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed pyproject.toml
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]' >&2
	@touch $@

dist: $(VENV)/installed-dev
	@$(BIN)/pip install --quiet --disable-pip-version-check 'build>=1.2' 'twine>=6' >&2
	@rm -rf dist build
	@$(BIN)/python -m build --outdir dist . >build.log 2>&1 || { cat build.log; exit 1; }
	@rm -f build.log
	@$(BIN)/twine check --strict dist/*

deb:
	@sh conf/build-deb.sh

install-system:
	@PYTHON=$(PYTHON) sh conf/install-system.sh .

uninstall-system:
	@sh conf/uninstall-system.sh

clean:
	rm -rf $(VENV) $(DATA) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* .import_linter_cache
