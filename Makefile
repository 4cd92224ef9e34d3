# `make evaluate` and `make test` do all that is needed on a machine with Debian or Ubuntu, and make. What has
# been done is not done again. `make help` lists the rest.

# The Python that the environment is made with, by name or by path; empty: .ci/environment looks for one.
PYTHON ?=
VENV := .venv
BIN := $(abspath $(VENV))/bin
export PATH := $(BIN):$(PATH)

# Who builds here is a developer, so warnings are errors; what has been compiled once is taken from ccache where
# that is installed, whatever folder it was compiled in.
CONFIGURE := cmake -G Ninja -DTORCH_EBPC_DEVELOPER=ON
export CMAKE_ARGS ?= -DTORCH_EBPC_DEVELOPER=ON
ifneq ($(shell command -v ccache),)
export CMAKE_CXX_COMPILER_LAUNCHER ?= ccache
export CCACHE_BASEDIR ?= /
export CCACHE_NOHASHDIR ?= 1
endif
# At once: compilers, tests.
JOBS ?= $(shell nproc)

NATIVE_SOURCES := $(shell find csrc -name '*.cpp' -o -name '*.h')
FORMATTED := $(NATIVE_SOURCES) $(shell find tests/cpp tests/fuzz tests/cmake evaluation/libtorch -name '*.cpp' -o -name '*.h')
OPTIONS ?=

.PHONY: help setup evaluate paper bench bench-hooks bench-training bench-kernels hardware synthesize libtorch docs
.PHONY: wheel test-wheel bit-equality
.PHONY: test test-cpp build-cpp-tests test-rtl test-python test-examples test-accelforge test-portable sanitize fuzz coverage lint format clean
.DELETE_ON_ERROR:

help:
	@echo 'make evaluate       ResNet-34: the compression ratio of every ReLU call (OPTIONS="--help" lists options)'
	@echo 'make paper          the tables of the paper: methods, types, networks, claims, pictures (OPTIONS too)'
	@echo 'make test           all tests, C++ and Python'
	@echo 'make test-rtl       the RTL in lockstep with the model on all words of ResNet-34 (minutes)'
	@echo 'make test-portable  the C++ tests for other CPUs, in emulators: aarch64, and s390x, which is big-endian'
	@echo 'make test-examples  docs/examples with the packages that they are for (heavy; an environment of its own)'
	@echo 'make bench          speed of compressing and decompressing, beside other compressors'
	@echo 'make bench-hooks    what a meter adds to the forward passes of ResNet-34'
	@echo 'make bench-training peak memory and time of training with save_compressed, beside what PyTorch has'
	@echo 'make bit-equality   that save_compressed and meters change no bit of outputs and gradients (minutes)'
	@echo 'make bench-kernels  speed of every kernel, at several settings (OPTIONS="--help" lists options)'
	@echo 'make hardware       ResNet-34 through the hardware model: registers, cycles, FIFOs, memory traffic, exports'
	@echo 'make synthesize     the RTL in flip-flops and gates, by Yosys'
	@echo 'make libtorch       ResNet-34 with compression in it, scripted, in a C++ program without Python'
	@echo 'make sanitize       the C++ tests, and the operators from Python, with sanitizers'
	@echo 'make fuzz           every fuzzer for a minute (SECONDS=3600 for an hour)'
	@echo 'make coverage       which lines and branches of csrc/ebpc the C++ tests reach'
	@echo 'make docs           the site, in build/docs'
	@echo 'make wheel          a wheel for any Python 3 and PyTorch, and the source distribution, in dist'
	@echo 'make test-wheel     the wheel in new environments, beside the oldest and the newest PyTorch'
	@echo 'make setup          the environment .venv with everything built and installed into it'
	@echo 'make lint           formatters, linters and type checker, changing nothing'
	@echo 'make format         formatters, in place'
	@echo 'make clean          removes what was built'

# ---- Environment -----------------------------------------------------------------------------------

setup: $(VENV)/.installed

$(VENV)/.requirements: requirements.txt .ci/environment .ci/system-packages
	command -v $(CXX) >/dev/null || .ci/system-packages g++
	.ci/environment $(VENV) $(PYTHON)
	@echo 'installing requirements.txt into $(VENV): minutes, and gigabytes where PyTorch comes with CUDA'
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

$(VENV)/.installed: $(VENV)/.requirements $(NATIVE_SOURCES) CMakeLists.txt setup.py pyproject.toml version.txt
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --editable .
	touch $@

# ---- Main job --------------------------------------------------------------------------------------

evaluate: setup
	$(BIN)/python -m evaluation.paper.resnet34 $(OPTIONS)

paper: setup
	$(BIN)/python -m evaluation.paper $(OPTIONS)

libtorch: setup
	$(BIN)/python -m evaluation.libtorch $(OPTIONS)

bench: setup
	$(BIN)/python -m pip install --quiet --requirement evaluation/bench/peers.txt
	$(BIN)/python -m evaluation.bench.throughput --json reports/throughput.json --plot reports/throughput.svg $(OPTIONS)

bench-hooks: setup
	$(BIN)/python -m evaluation.bench.overhead --json reports/overhead.json $(OPTIONS)
bench-training: setup
	$(BIN)/python -m evaluation.bench.training --json reports/training.json $(OPTIONS)

bit-equality: setup
	$(BIN)/python -m evaluation.bench.bit_equality $(OPTIONS)

bench-kernels: $(VENV)/.requirements
	.ci/system-packages libbenchmark-dev
	$(CONFIGURE) -S . -B build/benchmarks -DTORCH_EBPC_BUILD_OPERATORS=OFF -DTORCH_EBPC_BUILD_BENCHMARKS=ON
	cmake --build build/benchmarks --target ebpc_benchmark
	build/benchmarks/tests/cpp/ebpc_benchmark $(OPTIONS)

hardware: setup
	$(BIN)/python -m evaluation.hardware $(OPTIONS)

synthesize: setup
	.ci/system-packages yosys qflow-tech-osu018
	$(BIN)/python -m evaluation.hardware.synthesis

# ---- Tests -----------------------------------------------------------------------------------------

test: test-cpp test-python

build/recorded.words: $(VENV)/.installed evaluation/recorded/resnet34.pt evaluation/hardware/recorded_words.py
	$(BIN)/python -m evaluation.hardware.recorded_words $@

# In the build folder of the operators, so that the codec is compiled once for both.
build-cpp-tests: setup build/recorded.words
	.ci/system-packages libgtest-dev nlohmann-json3-dev verilator
	cmake -S . -B build/operators -DTORCH_EBPC_BUILD_TESTS=ON
	cmake --build build/operators --target ebpc_tests

export EBPC_RECORDED_WORDS := $(abspath build/recorded.words)
test-cpp: build-cpp-tests
	ctest --test-dir build/operators --output-on-failure --parallel $(JOBS)

# All 3,562,496 words of ResNet-34's recorded maps, of which `make test` takes a part: minutes.
test-rtl: build-cpp-tests
	EBPC_ALL_WORDS=1 ctest --test-dir build/operators --output-on-failure --parallel $(JOBS) --tests-regex HardwareRtl

PORTABLE_TESTS := test-aarch64 test-s390x
.PHONY: $(PORTABLE_TESTS)
test-portable: $(PORTABLE_TESTS)

$(PORTABLE_TESTS): test-%: $(VENV)/.requirements
	.ci/system-packages g++-$*-linux-gnu qemu-user googletest nlohmann-json3-dev
	$(CONFIGURE) -S . -B build/test-$* -DTORCH_EBPC_BUILD_OPERATORS=OFF -DTORCH_EBPC_BUILD_TESTS=ON \
	  -DCMAKE_TOOLCHAIN_FILE=tests/cpp/toolchains/$*-linux-gnu.cmake
	cmake --build build/test-$*
	ctest --test-dir build/test-$* --output-on-failure --parallel $(JOBS)

# Simulators that read our exports and want older libraries than ours.
build/simulators/.installed: tests/python/simulators.txt $(VENV)/.requirements
	.ci/environment build/simulators $(PYTHON)
	build/simulators/bin/python -m pip install --quiet --requirement $<
	touch $@

# It wants Python 3.12 and its search takes half a minute, so it is no part of `make test`.
ACCELFORGE := accelforge==1.0.467
build/accelforge/.$(ACCELFORGE): $(VENV)/.requirements
	.ci/environment build/accelforge python3.12
	build/accelforge/bin/python -m pip install --quiet $(ACCELFORGE)
	touch $@

test-accelforge: setup build/accelforge/.$(ACCELFORGE)
	$(BIN)/python -m pytest tests/python/test_hardware_exports.py -k accelforge

# Heavy packages of others, in an environment of their own.
test-examples: wheel
	.ci/environment build/examples $(PYTHON)
	build/examples/bin/python -m pip install --quiet "$$(grep '^torch==' requirements.txt)" \
	  --requirement docs/examples/requirements.txt dist/*.whl
	build/examples/bin/python -m pip install --quiet --no-deps silero-vad==6.2.3
	set -e; for example in docs/examples/*.py; do echo "== $$example"; build/examples/bin/python $$example; done

# Each file's tests in one process, which share what they have made.
# Without a browser, what looks at pages with one is skipped, visibly.
test-python: setup build/simulators/.installed
	-.ci/system-packages chromium-headless-shell
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

# ---- Faults and hostile input ----------------------------------------------------------------------

SANITIZED := $(CONFIGURE) -S . -DTORCH_EBPC_BUILD_TESTS=ON -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS=-O1
SANITIZED_PYTHON_TESTS := arguments error_texts errors golden_containers hardware methods ops partial statistics stream threads
# Python is not linked with the sanitizers, so they have to be in the process before it. What CPython keeps to
# its end is no leak of ours.
WITH_SANITIZERS = LD_PRELOAD="$$(clang++-19 -print-file-name=libclang_rt.asan-x86_64.so)" \
  ASAN_OPTIONS=detect_leaks=0 PYTHONSAFEPATH=1 PYTHONPATH=build/asan-python:.

# One build with the address and undefined behaviour sanitizers is for the tests and for the fuzzers.
build/asan/.configured: $(VENV)/.installed CMakeLists.txt tests/cpp/CMakeLists.txt tests/fuzz/CMakeLists.txt
	.ci/system-packages libgtest-dev nlohmann-json3-dev clang-19 libclang-rt-19-dev
	$(SANITIZED) -B build/asan -DCMAKE_CXX_COMPILER=clang++-19 -DTORCH_EBPC_BUILD_FUZZERS=ON \
	  -DPython3_EXECUTABLE=$(BIN)/python
	touch $@

# Every C++ test, and the operators' Python tests with the library of the same build; what runs in threads with
# the thread sanitizer.
sanitize: build/asan/.configured
	cmake --build build/asan --target ebpc_tests torch_ebpc
	ctest --test-dir build/asan --output-on-failure --parallel $(JOBS)
	rm -rf build/asan-python && mkdir build/asan-python && cp -r torch_ebpc build/asan-python
	cp build/asan/libtorch_ebpc.so build/asan-python/torch_ebpc/lib
	$(WITH_SANITIZERS) $(BIN)/python -c "import torch_ebpc; assert 'asan-python' in torch_ebpc.__file__, torch_ebpc.__file__"
	$(WITH_SANITIZERS) $(BIN)/pytest -p no:cacheprovider $(SANITIZED_PYTHON_TESTS:%=tests/python/test_%.py)
	$(SANITIZED) -B build/tsan -DTORCH_EBPC_SANITIZE=thread -DTORCH_EBPC_BUILD_OPERATORS=OFF \
	  -DCMAKE_CXX_COMPILER=g++
	cmake --build build/tsan --target ebpc_tests
	ctest --test-dir build/tsan --output-on-failure --parallel $(JOBS)

FUZZERS := compress decode decompress hardware kernels
SECONDS ?= 60

# What a fuzzer finds is written to build/fuzz; what it has learnt stays in build/fuzz/corpus.
fuzz: build/asan/.configured
	cmake --build build/asan --target $(FUZZERS:%=fuzz_%)
	mkdir -p build/fuzz
	$(BIN)/python tests/fuzz/make_seeds.py build/fuzz/seeds
	set -e; cd build/fuzz; for fuzzer in $(FUZZERS); do \
	  mkdir -p corpus/$$fuzzer; echo "$$fuzzer, $(SECONDS) s"; \
	  ../asan/tests/fuzz/fuzz_$$fuzzer corpus/$$fuzzer seeds/$$fuzzer -max_total_time=$(SECONDS) -max_len=20000 \
	    -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 -verbosity=0 2>$$fuzzer.log || { cat $$fuzzer.log; exit 1; }; \
	  grep number_of_executed_units $$fuzzer.log; \
	done

# Lines and branches of csrc/ebpc that the C++ tests reach.
coverage: $(VENV)/.requirements
	.ci/system-packages libgtest-dev nlohmann-json3-dev clang-19 libclang-rt-19-dev llvm-19
	$(CONFIGURE) -S . -B build/coverage -DCMAKE_CXX_COMPILER=clang++-19 -DCMAKE_BUILD_TYPE=Debug \
	  -DTORCH_EBPC_BUILD_OPERATORS=OFF -DTORCH_EBPC_BUILD_TESTS=ON \
	  -DCMAKE_CXX_FLAGS="-O1 -fprofile-instr-generate -fcoverage-mapping"
	cmake --build build/coverage
	cd build/coverage && LLVM_PROFILE_FILE=tests.profraw tests/cpp/ebpc_tests --gtest_brief=1
	cd build/coverage && llvm-profdata-19 merge -o tests.profdata tests.profraw
	cd build/coverage && llvm-cov-19 report tests/cpp/ebpc_tests -instr-profile=tests.profdata \
	  -show-branch-summary -show-region-summary=false $(CURDIR)/csrc/ebpc

# ---- Site and wheel ------------------------------------------------------------------------------------

# Every warning is an error, a name or link that leads nowhere too; the example notebook is run. The pages fetch
# nothing from elsewhere when they are read.
docs: setup
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -d build/doctrees docs build/docs
	@! grep -rE '<(script|link|img)[^>]*(src|href)="(https?:)?//' build/docs --include='*.html'
	@echo 'build/docs/index.html'

# The wheel is made of the source distribution, which so is known to have all that building needs. What it
# takes of PyTorch stays in PyTorch; its platform tag says which C and C++ libraries it needs.
wheel: $(VENV)/.requirements
	.ci/system-packages binutils
	rm -rf build/wheel dist && mkdir -p build
	$(BIN)/python -m build --no-isolation --outdir build/wheel >build/wheel.log || { cat build/wheel.log; exit 1; }
	$(BIN)/auditwheel repair --strip --exclude 'libtorch*.so' --exclude 'libc10*.so' --wheel-dir dist build/wheel/*.whl
	mv build/wheel/*.tar.gz dist
	rm -rf *.egg-info
	@ls -l dist
	@[ -n "$$(find dist -name 'torch_ebpc-*-py3-none-manylinux_*.whl' -size -2000000c)" ] || \
	  { echo 'expected a manylinux wheel of less than 2 MB'; exit 1; }

# Large downloads: PyTorch for CUDA, where the registry has no other. WHEEL_TESTS are run besides the smoke test.
TORCH_VERSIONS ?= 2.10.0 newest
WHEEL_TESTS ?= $(SANITIZED_PYTHON_TESTS) opcheck taps meter meter_safety quantizer doctest

test-wheel: wheel
	set -e; for version in $(TORCH_VERSIONS); do \
	  tests/wheel/in_new_environment $(BIN)/python dist/*.whl $$version $(WHEEL_TESTS:%=tests/python/test_%.py); \
	done

# ---- Style -----------------------------------------------------------------------------------------

lint: setup
	$(BIN)/python .ci/tracked_files.py
	clang-format --dry-run --Werror $(FORMATTED)
	ruff format --check .
	ruff check .
	mypy

format: setup
	clang-format -i $(FORMATTED)
	ruff format .
	ruff check --fix .

clean:
	rm -rf build dist $(VENV) torch_ebpc/*.so torch_ebpc/include torch_ebpc/lib torch_ebpc/share *.egg-info reports
