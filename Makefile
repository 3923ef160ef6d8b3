# Everything a person does with this folder. The work is in deploy/local; nothing outside the folder is written.
.DEFAULT_GOAL := help
.PHONY: help run up down clean status test check bench chaos schemas format lock install install-dev

PY := .venv/bin/python
# Temporary and cached files of the tools stay in the folder as well.
INSIDE := TMPDIR="$(CURDIR)/.rollcall/tmp" XDG_CACHE_HOME="$(CURDIR)/.rollcall/cache" PYTHONPATH="$(CURDIR)"

help:
	@echo "make run     install, start everything, replay the demo's data, say where to look"
	@echo "make up      start what does not run, with all data kept"
	@echo "make down    stop everything"
	@echo "make status  say how every process is"
	@echo "make clean   stop everything and forget: removes .rollcall (data, keys, ports, logs, Kafka's jars); keeps .venv"
	@echo "make test    all tests, on a real Kafka and a real Valkey"
	@echo "make check   formatter, linter, types, import contracts, schema drift"
	@echo "make bench   the benchmarks, as a table: BENCH=\"--only rivals --quick\""
	@echo "make chaos   faults under load, compared record by record: CHAOS=\"--seed 7 --minutes 30\""
	@echo "make schemas generate the JSON Schemas anew;  make format  format the code;  make lock  pin the requirements anew"
	@echo
	@echo "PYTHON=… names another Python (3.11 or later), ROLLCALL_API_PORT=… and the like another port;"
	@echo "ROLLCALL_MAVEN_URL=… another Maven repository. Logs are in .rollcall/log, pid files in .rollcall/run."

install:
	@deploy/local/install.sh run

install-dev: install
	@deploy/local/install.sh dev
	@mkdir -p .rollcall/tmp

run: install
	@$(PY) -m deploy.local run

up: install
	@$(PY) -m deploy.local up

# Without a virtual environment nothing was started, unless someone removed it since.
down status:
	@if [ -x $(PY) ]; then $(PY) -m deploy.local $@; \
	elif ls .rollcall/run/*.pid >/dev/null 2>&1; then echo "rollcall: .venv is gone; \`make install\` first" >&2; exit 1; \
	else echo "Nothing runs."; fi

clean:
	@if [ -x $(PY) ]; then $(PY) -m deploy.local clean; \
	elif ls .rollcall/run/*.pid >/dev/null 2>&1; then echo "rollcall: .venv is gone; \`make install\` first" >&2; exit 1; \
	else rm -rf .rollcall; echo "Removed .rollcall"; fi

test: install-dev
	@$(INSIDE) $(PY) -m tests

check: install-dev
	@$(INSIDE) $(PY) -m ruff format --check .
	@$(INSIDE) $(PY) -m ruff check .
	@$(INSIDE) $(PY) -m mypy
	@$(INSIDE) .venv/bin/lint-imports
	@$(INSIDE) $(PY) -m schemas.generate --check

bench: install-dev
	@deploy/local/install.sh bench
	@$(INSIDE) $(PY) -m tests.bench $(BENCH)

chaos: install-dev
	@$(INSIDE) $(PY) -m tests.chaos $(CHAOS)

schemas: install-dev
	@$(PY) -m schemas.generate

format: install-dev
	@$(INSIDE) $(PY) -m ruff format .
	@$(INSIDE) $(PY) -m ruff check --fix .

# No address of an index and no path of a machine may end up in the pinned files.
LOCK := --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe --no-header --no-emit-options
lock: install-dev
	@for name in run dev bench; do \
	  (cd requirements && $(INSIDE) ../.venv/bin/pip-compile $(LOCK) -o $$name.txt $$name.in) || exit 1; \
	  { echo "# Every package and its checksums, made from $$name.in by \`make lock\`; do not edit."; cat requirements/$$name.txt; } > requirements/.$$name; \
	  mv requirements/.$$name requirements/$$name.txt; \
	done
