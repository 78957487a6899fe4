# Needs make and a python3 of any version. The rest is fetched into .uv/ and .venv/ of this folder, and for the tests into
# .venv-clients/ and, where there is npm, node_modules/; nothing outside it is changed.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run web login demo test cover quick lint bench bench-peers clean

PYTHON_MIN := 12
VENV := .venv/bin
# Extra arguments for the program behind a target: make run ARGS="-p 8080", make login ARGS=--device
ARGS ?=
# Over four processes, also where there are two cores: most tests wait, for a process of their own or for a time to pass.
SPREAD := -n 4 --dist loadfile --no-loadscope-reorder
# The tests start hundreds of Pythons. Each would read all of its sources anew where the user's shell forbids to keep what it made of them.
test cover quick bench bench-peers: export PYTHONDONTWRITEBYTECODE :=
# The clients from npm that the tests run; their tests skip where there is no npm.
CLIENTS := $(if $(shell command -v npm 2>/dev/null),$(patsubst %/package.json,%/node_modules/.package-lock.json,$(wildcard tests/clients/*/package.json)))

help: ## this list
	@sed -n 's/^\([a-z.-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

run: .venv ## serve on http://127.0.0.1:9090/v1
	$(VENV)/mitmdump -s addons/codex_auth.py $(ARGS)

web: .venv ## the same in mitmweb: watch the traffic in the browser
	$(VENV)/mitmweb -s addons/codex_auth.py --set codex_traffic_bodies=true $(ARGS)

login: .venv ## sign in with a ChatGPT plan (ARGS=--device without a browser)
	$(VENV)/python -m auth login $(ARGS)

demo: .venv ## offline tour: a fake OpenAI, the proxy, a sign-in, two answers (ARGS=--stay for docs/learn.md)
	$(VENV)/python -m tests.demo $(ARGS)

test: .venv .venv-clients/installed $(CLIENTS) lint ## everything
	$(VENV)/python -m pytest $(SPREAD) $(ARGS)

cover: .venv .venv-clients/installed $(CLIENTS) ## everything, and which lines no test has run
	$(VENV)/python -m pytest --cov $(SPREAD) $(ARGS)

quick: .venv ## the fast tests only
	$(VENV)/python -m pytest -m "not slow" $(SPREAD) $(ARGS)

lint: .venv
	$(VENV)/ruff check --quiet .
	$(VENV)/ruff format --quiet --check .
	$(VENV)/mypy --strict auth addons/wire
	$(VENV)/mypy addons

bench: .venv ## what the proxy costs, beside bare mitmdump and nginx (ARGS=--help); about five minutes
	$(VENV)/python -m tests.bench $(ARGS)

bench-peers: .venv ## streamed chat beside other programs of this kind, fetched into .bench-peers/
	$(VENV)/python -m tests.bench.peers $(ARGS)

clean: ## remove what make has fetched
	rm -rf .venv .venv-clients .uv .cache .mypy_cache .pytest_cache .ruff_cache .coverage* .bench-peers tests/clients/*/node_modules tests/clients/*/.npm-cache

# A Python that is new enough, from PATH or from pyenv; empty if there is none, and uv then downloads one.
FIND_PYTHON = pyenv="$${PYENV_ROOT:-$$HOME/.pyenv}"; [ -d "$$pyenv" ] || pyenv=$$(dirname "$$(command -v pyenv)")/..; \
	for p in python3 python3.14 python3.13 python3.12 "$$pyenv"/versions/*/bin/python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, $(PYTHON_MIN)))' 2>/dev/null && { command -v "$$p"; break; }; done

# uv from PATH, else put into .uv/ by pip. An old Python's pip is renewed first: it does not know today's wheel names.
.uv/bin/uv:
	@if command -v uv >/dev/null 2>&1; then mkdir -p .uv/bin && ln -sf "$$(command -v uv)" .uv/bin/uv; else \
	  base=$$($(FIND_PYTHON)); base=$${base:-python3}; echo "fetching uv with $$base" >&2; \
	  "$$base" -m venv .uv/boot && .uv/boot/bin/python -m pip install --quiet --upgrade pip && \
	  .uv/boot/bin/python -m pip install --quiet --target .uv --upgrade --no-deps --only-binary :all: --python-version 3.$(PYTHON_MIN) uv || \
	  { rm -rf .uv; echo "cannot fetch uv: install python3-venv (Debian: apt install python3-venv) or uv itself" >&2; exit 1; }; fi

.venv: .uv/bin/uv pyproject.toml uv.lock
	@found=$$($(FIND_PYTHON)); .uv/bin/uv sync --quiet --locked --compile-bytecode --python "$${found:->=3.$(PYTHON_MIN)}"
	@touch .venv

# Python clients for the tests that cannot live beside mitmproxy.
.venv-clients/installed: tests/clients/requirements.txt | .venv
	@.uv/bin/uv venv --quiet --allow-existing --python $(VENV)/python .venv-clients
	@.uv/bin/uv pip sync --quiet --compile-bytecode --python .venv-clients --require-hashes tests/clients/requirements.txt
	@touch $@

# npm writes this file last. Its cache is in the folder as well, so that it needs no home and leaves nothing in one.
tests/clients/%/node_modules/.package-lock.json: tests/clients/%/package-lock.json
	@cd tests/clients/$* && npm ci --loglevel=error --no-audit --no-fund --no-update-notifier --ignore-scripts --cache .npm-cache >/dev/null
	@touch $@
