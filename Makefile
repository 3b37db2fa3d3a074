# Two commands matter: `make demo` and `make test`. Each sets up .venv by itself, once.
#
# PYTHON         the interpreter to build .venv with, 3.11 to 3.13
# TORCH_OPTIONS  extra options for `pip install torch`, such as an --index-url of your choice

PYTHON ?= $(firstword $(foreach p,python3.13 python3.12 python3.11 python3,\
	$(shell $(p) -c '$(SUPPORTED)' 2>/dev/null && echo $(p))))
TORCH_OPTIONS ?=

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
MODEL := $(firstword $(wildcard examples/byte_lm/model.pt) build/untrained.pt)

.PHONY: demo test test-all test-lava test-sanafe lint bench clean
.NOTPARALLEL: # the set-ups share one .venv

demo: .venv/ready-demo $(MODEL)
	$(BIN)/sbcompile $(MODEL) --target loihi-like --out model.sbx
	$(BIN)/sbsim run model.sbx --trace
	$(BIN)/sbsim report --baseline fp16 --baseline int8

test: .venv/ready-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2

test-all: .venv/ready-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# Lava waits for ever for a process of its own that died, so nothing here runs without a time limit.
test-lava: .venv/ready-dev build/lava/ready
	SPIKELOOM_LAVA=build/lava/bin/python OMP_NUM_THREADS=1 \
		timeout 900 $(BIN)/python -m pytest tests/laws/test_lava.py

# SANA-FE is GPL: it runs in an environment and a process of its own, and nothing of ours imports it.
test-sanafe: .venv/ready-dev build/sanafe/ready
	OMP_NUM_THREADS=1 timeout 900 $(BIN)/python -m pytest tests/peers

lint: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/ready-dev
	$(BIN)/python -m benchmarks.demo
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.rows
	$(BIN)/python -m benchmarks.closed
	$(BIN)/python -m benchmarks.weights
	$(BIN)/python -m benchmarks.compile
	$(BIN)/python -m benchmarks.simulate

clean:
	rm -rf .venv build runs report.html model.sbx

build/sanafe/ready: | .venv/ready-dev
	rm -rf build/sanafe
	$(BIN)/python -m venv build/sanafe
	build/sanafe/bin/python -m pip --disable-pip-version-check install --quiet \
		sanafe==2.2.9 --constraint constraints.txt numpy
	@touch $@

build/untrained.pt: .venv/ready-demo
	mkdir -p build
	$(BIN)/python -m examples.byte_lm.untrained $@

# lava-nc declares Python below 3.11 and older versions of what it needs, and runs with these all
# the same: its own requirements are left aside, and ours pinned.
build/lava/ready: constraints-lava.txt | .venv/ready-dev
	rm -rf build/lava
	$(BIN)/python -m venv build/lava
	build/lava/bin/python -m pip --disable-pip-version-check install --quiet \
		--no-deps --ignore-requires-python --only-binary :all: --requirement constraints-lava.txt
	@touch $@

# .venv/unfinished stands while a set-up runs. Where it is found, the last one was interrupted and
# may have left half a package behind, so we start over: stamps and interpreter go first and pip
# comes after the marker, so that no half-made .venv ever looks usable.
.PHONY: $(if $(wildcard .venv/unfinished),.venv/ready-demo .venv/ready-dev)

define set-up
	@$(BIN)/python -c 'import pip; $(SUPPORTED)' 2>/dev/null && test ! -e .venv/unfinished || { \
		test -n "$(PYTHON)" || { \
			echo "error: found no Python 3.11, 3.12 or 3.13; fix: make PYTHON=/path/to/python3.12" >&2; \
			exit 2; \
		}; \
		echo "making .venv with $(PYTHON)"; \
		rm -rf .venv/ready-* .venv/bin; \
		$(PYTHON) -m venv --clear --without-pip .venv; \
	}
	@touch .venv/unfinished
	$(BIN)/python -m ensurepip --default-pip
	$(PIP) install --constraint constraints.txt $(TORCH_OPTIONS) torch
	$(PIP) install --constraint constraints.txt --editable '.$(EXTRAS)'
	@rm .venv/unfinished
	@touch $@
endef

.venv/ready-demo: pyproject.toml constraints.txt
	$(set-up)

.venv/ready-dev: EXTRAS := [dev,triton]
.venv/ready-dev: pyproject.toml constraints.txt
	$(set-up)
