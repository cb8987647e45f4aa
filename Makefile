# make run     a shell with its own daemon; it executes a script from standard input
# make quick   the tests of pure code, 20 s      make test   the suite, 5 minutes      make long   the rest
# make check   ruff, mypy, import-linter, the words, clang-format, biome, mandoc
# make bench   measure this machine, beside Redis if it is installed, and draw the charts in docs/ (ROUNDS=5 KEYS=1000000)
# make generate   the files that are derived from the command classes: gRPC, manual, features, golden lines
# make bench-gateways   compare each gateway with a server that answers a constant; it needs wrk (ROUNDS=5)
# make dist    sdist and wheel in dist/   make deb     a Debian package
# make install-system   as root: kvd in /opt/kvd, its units, manual and configuration; make uninstall-system removes them
# make lock    update the lock files         make test-oldest, make test-latest: the quick tests with other versions
# make clean   delete generated files, never data
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= .data
ROUNDS ?= 5
KEYS ?= 1000000
# Files without I/O and clock: every branch is tested.
PURE := kvd/errors.py,kvd/limits.py,kvd/commands/*,kvd/access.py,kvd/wire_errors.py,kvd/wire.py,kvd/engine/engine.py,kvd/engine/floors.py,kvd/engine/staging.py,kvd/client/bulk.py,kvd/client/curve.py,kvd/client/diagnosis.py,kvd/client/follower.py,kvd/client/inflight.py,kvd/client/lease.py,kvd/client/outcomes.py,kvd/client/journal_poller.py,kvd/client/probe.py,kvd/client/prober.py,kvd/client/question.py,kvd/client/reconnects.py,kvd/client/refusals.py,kvd/client/replica.py,kvd/client/snapshot.py,kvd/client/watch_machine.py,kvd/client/zmtp.py,kvd/gateways/common/json_pieces.py,kvsh/words.py,kvsh/script/refused.py,kvsh/grammar/*,kvsh/render/*
# Their tests, and other tests without processes and connections. test-oldest and test-latest run them too.
QUICK := tests/commands tests/client/test_follower.py tests/client/test_inflight.py tests/client/test_journal_poller.py \
  tests/client/test_probe.py tests/client/test_snapshot.py tests/client/test_watch_machine.py tests/client/test_endpoints.py tests/client/test_zmtp.py tests/client/test_outcomes.py \
  tests/gateways/common/test_json_pieces.py tests/gateways/nats/test_messages.py tests/gateways/tcp/test_output_budget.py \
  tests/gateways/tcp/test_protocol.py tests/kvsh/grammar tests/kvsh/render/test_forms.py \
  tests/kvsh/test_words.py tests/kvsh/modes/test_report.py tests/kvsh/modes/test_sizes.py \
  tests/kvsh/modes/test_latency_stats.py tests/kvsh/repl/test_actions.py tests/kvsh/script/test_lines.py \
  tests/kvsh/ui/test_outcome.py tests/reliability/test_linearizability.py \
  tests/reliability/test_watch_validators.py tests/test_access.py tests/test_config.py tests/engine/test_engine.py \
  tests/test_errors.py tests/test_golden.py tests/test_monitoring.py tests/test_wire.py tests/test_wording.py
# The tests are compiled once, even with PYTHONDONTWRITEBYTECODE: otherwise each worker needs 6 s.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest
# Most tests wait most of the time.
WORKERS ?= $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN))

.PHONY: generate run quick test long check bench bench-gateways coverage dist deb install-system uninstall-system clean \
	lock test-oldest test-latest python-is-there

run: $(VENV)/installed
	@exec $(BIN)/kvsh --local $(DATA)

quick: $(VENV)/installed-dev
	@$(PYTEST) --pure -n 2 $(QUICK)

test: $(VENV)/installed-dev
	@$(PYTEST) -n $(WORKERS) --dist worksteal $(TESTS)

long: $(VENV)/installed-dev
	@KVD_TESTS_LONG=1 KVD_TESTS_DISK=1 $(PYTEST) -m 'long or browser or conformance or haproxy or hypothesis'

coverage: $(VENV)/installed-dev
	@rm -f .coverage .coverage.*
	@KVD_TESTS_LONG=1 $(BIN)/coverage run -m pytest -n $(WORKERS) --dist worksteal -m 'not long'
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report --fail-under=95
	@$(BIN)/coverage report --fail-under=100 --include='$(PURE)'

check: $(VENV)/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python tools/check_words.py >/dev/null || $(BIN)/python tools/check_words.py
	@$(BIN)/mypy
	@$(BIN)/pytest -m types tests/client
	@$(BIN)/lint-imports
	@$(BIN)/clang-format --dry-run -Werror kvd/native/*.[ch] kvd/server/*.c bench/sink.c
	@if command -v cc >/dev/null; then cc -fsyntax-only -Wall -Wextra -Werror \
	    -I"$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')" kvd/native/*.c kvd/server/*.c; \
	else echo "a C compiler is missing, the C parts were not checked: apt-get install gcc python3-dev" >&2; fi
	@sh tools/lint_page.sh
	@sh conf/check-units.sh
	@if command -v mandoc >/dev/null; then mandoc -T lint -W warning man/*.[1578]; \
	else echo "mandoc is missing, the manual was not checked: apt-get install mandoc" >&2; fi

# The files are committed, and tests fail when one is out of date.
generate: $(VENV)/installed-dev
	@$(BIN)/python tools/generate.py

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

# Written when a compiler appears or disappears: the C parts are then rebuilt.
$(VENV)/compiler: python-is-there
	@$(or $(wildcard $(BIN)/python),$(PYTHON)) tools/find_compiler.py $@

python-is-there:
	@command -v $(PYTHON) >/dev/null || { echo "kvd needs Python 3.11 or newer: apt-get install python3 python3-venv" >&2; exit 1; }

SOURCES := pyproject.toml setup.py $(wildcard kvd/native/*.[ch] kvd/server/*.c)

$(VENV)/installed: $(VENV)/compiler requirements.lock requirements-build.lock $(SOURCES)
	@$(PYTHON) tools/install.py $(VENV) requirements.lock
	@touch $@

$(VENV)/installed-dev: $(VENV)/compiler requirements-dev.lock requirements-build.lock $(SOURCES)
	@$(PYTHON) tools/install.py $(VENV) requirements-dev.lock
	@touch $(VENV)/installed $@

# The lock files get the newest versions that pyproject.toml allows.
lock: python-is-there
	@$(PYTHON) tools/lock.py

# The oldest versions that pyproject.toml allows.
test-oldest: python-is-there
	@$(PYTHON) tools/bounds.py oldest $(VENV)-oldest
	@$(VENV)-oldest/bin/pytest $(QUICK)

# The newest versions, whatever pyproject.toml allows.
test-latest: python-is-there
	@$(PYTHON) tools/bounds.py latest $(VENV)-latest
	@$(VENV)-latest/bin/pytest $(QUICK)

# Writes the sdist, a manylinux wheel for each Python on this machine, and a wheel without C for other platforms to dist/.
PYTHONS ?= python3.11 python3.12 python3.13
dist: $(VENV)/installed-dev
	@rm -rf dist build
	@$(BIN)/python tools/build_packages.py $(PYTHONS)

deb:
	@sh conf/build-deb.sh

install-system:
	@PYTHON=$(PYTHON) sh conf/install-system.sh

uninstall-system:
	@sh conf/uninstall-system.sh

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-latest node_modules build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* .import_linter_cache
	find kvd kvsh tests bench tools \( -name '*.so' -o -name __pycache__ \) -prune -exec rm -rf {} +
	@if [ -e $(DATA) ]; then echo "the data in $(DATA) is kept: rm -r $(DATA) deletes it"; fi
