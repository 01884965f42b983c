# Everything is set up in .venv; nothing else is installed by hand.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# What pip is asked for; pin it here or in the environment where a plain install brings the wrong build.
TORCH ?= torch torchvision
PLUGINS := $(wildcard plugins/*)

# No weights, no updates, no downloads: Ultralytics is told so; its settings stay in the build folder.
export YOLO_CONFIG_DIR ?= $(CURDIR)/build/yolo
export YOLO_OFFLINE ?= true
export YOLO_AUTOINSTALL ?= false
export MLFLOW_DISABLE_TELEMETRY ?= true

.PHONY: demo test lint format bench system-packages clean

demo: $(VENV)/.ready
	@$(BIN)/tracking-hooks demo

test: $(VENV)/.ready system-packages
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.ready
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/hanging_server.py

# A browser for the tests that look at the trackers' pages; they are skipped, with the reason, where it cannot be had.
system-packages:
	@tests/system-packages chromium

$(VENV)/.ready: pyproject.toml $(PLUGINS:=/pyproject.toml) Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable . $(PLUGINS:%=--editable %) --group dev
	@mkdir -p build && touch $@

clean:
	rm -rf $(VENV) build dist tracking-hooks-demo
