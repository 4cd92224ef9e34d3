# `make evaluate` and `make test` do all that is needed on a machine with Debian, Python 3.11 and make. What
# has been done is not done again. `make help` lists the rest.

PYTHON ?= python3.11
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
export PATH := $(BIN):$(PATH)

NATIVE_SOURCES := $(shell find csrc -name '*.cpp' -o -name '*.h')
FORMATTED := $(NATIVE_SOURCES) $(shell find tests/cpp -name '*.cpp' -o -name '*.h')
OPTIONS ?=

.PHONY: help setup evaluate paper bench bench-kernels hardware test test-cpp test-python test-portable lint format clean
.DELETE_ON_ERROR:

help:
	@echo 'make evaluate       ResNet-34: the compression ratio of every ReLU call (OPTIONS="--help" lists options)'
	@echo 'make paper          the tables of the paper: methods, types, networks, claims, pictures (OPTIONS too)'
	@echo 'make test           all tests, C++ and Python'
	@echo 'make test-portable  the C++ tests for other CPUs, in emulators: aarch64, and s390x, which is big-endian'
	@echo 'make bench          speed of compressing and decompressing, beside other compressors'
	@echo 'make bench-kernels  speed of every kernel, at several settings (OPTIONS="--help" lists options)'
	@echo 'make hardware       ResNet-34 through the hardware model: registers, cycles, FIFOs, memory traffic, exports'
	@echo 'make setup          the environment .venv with everything built and installed into it'
	@echo 'make lint           formatters, linters and type checker, changing nothing'
	@echo 'make format         formatters, in place'
	@echo 'make clean          removes what was built'

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

bench-kernels: $(VENV)/.requirements
	.ci/system-packages libbenchmark-dev
	cmake -S . -B build/benchmarks -G Ninja -DTORCH_EBPC_BUILD_OPERATORS=OFF -DTORCH_EBPC_BUILD_BENCHMARKS=ON
	cmake --build build/benchmarks --target ebpc_benchmark
	build/benchmarks/tests/cpp/ebpc_benchmark $(OPTIONS)

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

PORTABLE_TESTS := test-aarch64 test-s390x
.PHONY: $(PORTABLE_TESTS)
test-portable: $(PORTABLE_TESTS)

$(PORTABLE_TESTS): test-%: $(VENV)/.requirements
	.ci/system-packages g++-$*-linux-gnu qemu-user googletest nlohmann-json3-dev
	cmake -S . -B build/test-$* -G Ninja -DTORCH_EBPC_BUILD_OPERATORS=OFF -DTORCH_EBPC_BUILD_TESTS=ON \
	  -DCMAKE_TOOLCHAIN_FILE=tests/cpp/toolchains/$*-linux-gnu.cmake
	cmake --build build/test-$*
	ctest --test-dir build/test-$* --output-on-failure --parallel 2

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
