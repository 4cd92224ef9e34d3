# `make evaluate` and `make test` do all that is needed on a machine with Debian, Python 3.11 and make. What
# has been done is not done again. `make help` lists the rest.

PYTHON ?= python3.11
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
export PATH := $(BIN):$(PATH)

NATIVE_SOURCES := $(shell find csrc -name '*.cpp' -o -name '*.h')
FORMATTED := $(NATIVE_SOURCES) $(shell find tests/cpp -name '*.cpp' -o -name '*.h')
OPTIONS ?=

.PHONY: help setup evaluate paper bench hardware test test-cpp test-python lint format clean
.DELETE_ON_ERROR:

help:
	@echo 'make evaluate   ResNet-34: the compression ratio of every ReLU call (OPTIONS="--help" lists options)'
	@echo 'make paper      the tables of the paper: methods, types, networks, claims, pictures (OPTIONS too)'
	@echo 'make test       all tests, C++ and Python'
	@echo 'make bench      speed of compressing and decompressing, beside other compressors'
	@echo 'make hardware   ResNet-34 through the hardware model: registers, cycles, FIFOs, memory traffic, exports'
	@echo 'make setup      the environment .venv with everything built and installed into it'
	@echo 'make lint       formatters, linters and type checker, changing nothing'
	@echo 'make format     formatters, in place'
	@echo 'make clean      removes what was built'

# ---- Environment -----------------------------------------------------------------------------------

setup: $(VENV)/.installed

$(VENV)/.requirements: requirements.txt .ci/system-packages
	.ci/system-packages g++ $(PYTHON)-venv
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

$(VENV)/.installed: $(VENV)/.requirements $(NATIVE_SOURCES) CMakeLists.txt setup.py pyproject.toml version.txt
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --editable .
	touch $@

# ---- Main job --------------------------------------------------------------------------------------

evaluate: setup
	$(BIN)/python -m evaluation.resnet34 $(OPTIONS)

paper: setup
	$(BIN)/python -m evaluation.paper $(OPTIONS)

bench: setup
	$(BIN)/python -m evaluation.throughput --json reports/throughput.json --plot reports/throughput.svg $(OPTIONS)

hardware: setup
	$(BIN)/python -m evaluation.hardware $(OPTIONS)

# ---- Tests -----------------------------------------------------------------------------------------

test: test-cpp test-python

build/tests/.configured: $(VENV)/.requirements CMakeLists.txt tests/cpp/CMakeLists.txt
	.ci/system-packages libgtest-dev nlohmann-json3-dev
	cmake -S . -B build/tests -G Ninja -DTORCH_EBPC_BUILD_OPERATORS=OFF -DTORCH_EBPC_BUILD_TESTS=ON
	touch $@

test-cpp: build/tests/.configured
	cmake --build build/tests
	ctest --test-dir build/tests --output-on-failure --parallel 2

test-python: setup
	$(BIN)/python -m pytest

# ---- Style -----------------------------------------------------------------------------------------

lint: setup
	clang-format --dry-run --Werror $(FORMATTED)
	ruff format --check .
	ruff check .
	mypy

format: setup
	clang-format -i $(FORMATTED)
	ruff format .
	ruff check --fix .

clean:
	rm -rf build $(VENV) torch_ebpc/*.so *.egg-info reports
