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
# Else Matplotlib looks for fonts again in each of the fresh homes that tests train in.
export MPLCONFIGDIR ?= $(CURDIR)/build/matplotlib

.PHONY: demo test test-fast faults stack compat docs lint format bench gpu-bench gpu release-check pictures system-packages clean

demo: $(VENV)/.ready
	@$(BIN)/tracking-hooks demo $(ARGS)

# In the order of the folders, the fast unit tests last: no worker is left alone with a long end-to-end test.
test: $(VENV)/.ready system-packages
	$(BIN)/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder $(ARGS)

# What needs no training, server or browser.
test-fast: $(VENV)/.ready
	$(BIN)/python -m pytest -n 3 -m "not e2e and not faults" $(ARGS)

# Random sequences of faults, against a model and against real servers, about half an hour: prints what was lost or
# doubled.
faults: $(VENV)/.ready
	$(BIN)/python -m tests.faults --model 10000 --sequences 500 --jobs 4 $(ARGS)

# The images and the stack of docker/, really built and run: needs Docker, or podman (see docker/README.md).
stack: $(VENV)/.ready
	$(BIN)/python -m tests.stack $(ARGS)

# A training with each version of other people's packages that is said to work, half an hour: writes docs/compatibility.md.
compat: $(VENV)/.ready
	$(BIN)/python -m tests.compat $(ARGS)

# The site of the documents, in build/site; a dead link is an error.
docs: $(VENV)/.ready
	@$(BIN)/python docs/website.py $(ARGS)

SHELL_SCRIPTS := .ci/run docker/backup docker/make-secrets docker/restore docker/slurm/train.sbatch \
	tests/system-packages tests/stack/standins/postgres/docker-entrypoint.sh

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck $(SHELL_SCRIPTS)
	$(BIN)/hadolint docker/Dockerfile tests/stack/standins/*/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker/compose*.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yaml
	$(BIN)/zizmor --offline --quiet .github/workflows
	$(BIN)/kubernetes-validate docker/k8s/train.yaml
	$(BIN)/python docs/website.py

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# An hour on two cores that have nothing else to do; writes docs/benchmarks.md.
bench: $(VENV)/.ready
	$(BIN)/python -m benchmarks $(ARGS)

# The training loop on a GPU; its tables stand beside those of the CPU.
gpu-bench: $(VENV)/.ready
	$(BIN)/python -m benchmarks --only loop --device 0 $(ARGS)

# What only a GPU can show, half an hour on one; says so where there is none.
gpu: $(VENV)/.ready
	$(BIN)/python -m tests.gpu $(ARGS)

# A release up to the upload, into build/release: builds, looks into what was built, installs it afresh, trains with it.
release-check: $(VENV)/.ready
	$(BIN)/python -m tests.release --torch="$(TORCH)" $(ARGS)

# Every picture of the documents, out of real trainings, ten minutes: writes docs/images and tests/data/demo.cast.
pictures: $(VENV)/.ready system-packages
	$(BIN)/python -m docs.pictures $(ARGS)

# A browser and a database for the tests that want them; those are skipped, with the reason, where they cannot be had.
system-packages:
	@tests/system-packages chromium fonts-liberation postgresql dosfstools

$(VENV)/.ready: pyproject.toml $(PLUGINS:=/pyproject.toml) Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable . $(PLUGINS:%=--editable %) --group dev
	@mkdir -p build && touch $@

clean:
	rm -rf $(VENV) build dist tracking-hooks-demo
