"""The installed CMake package, used by a project outside of this one that needs no PyTorch."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch
from helpers import ROOT, missing

import torch_ebpc
from evaluation.libtorch.program import call_cmake

CONSUMER = ROOT / "tests" / "cmake" / "codec"


@pytest.fixture(scope="module")
def installed_prefix(tmp_path_factory):
    """Where `cmake --install` has put everything, by the defaults of this system."""
    build = ROOT / "build" / "operators"
    if not (build / "cmake_install.cmake").exists():
        missing(f"{build} is not built; 'pip install .' in the checkout builds it")
    prefix = tmp_path_factory.mktemp("prefix")
    call_cmake("--install", build, "--prefix", prefix)
    return prefix


def configure(folder, prefix, *options):
    call_cmake(
        "-S", CONSUMER, "-B", folder, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}", *options
    )


def test_the_codec_of_an_installed_prefix_is_used_without_pytorch(installed_prefix, tmp_path):
    configure(tmp_path, installed_prefix)
    call_cmake("--build", tmp_path)
    program = tmp_path / "codec_consumer"
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    words = torch.arange(1000, dtype=torch.int16).view(10, 100)
    container = torch_ebpc.compress(words * (words % 7 == 0))
    assert done.stdout == f"{container.numel()} bytes by {torch_ebpc.kernel()}\n"
    linked = subprocess.check_output(["ldd", program], text=True)
    assert "torch" not in linked


def test_the_python_package_is_such_a_prefix_too(tmp_path):
    prefix = Path(torch_ebpc.cmake_prefix_path)
    assert (prefix / "torch_ebpc" / "torch_ebpcConfig.cmake").exists()
    configure(tmp_path, prefix)
    cache = (tmp_path / "CMakeCache.txt").read_text()
    assert f"torch_ebpc_DIR:PATH={prefix}/torch_ebpc\n" in cache


def test_the_version_is_checked(installed_prefix, tmp_path):
    major, minor, patch = map(int, re.findall(r"\d+", torch_ebpc.__version__))
    configure(tmp_path / "same", installed_prefix, f"-DWANTED_VERSION={major}.{minor}")
    for wanted in (f"{major}.{minor}.{patch + 1}", f"{major}.{minor + 1}", f"{major + 1}"):
        with pytest.raises(RuntimeError, match=rf"version: {re.escape(torch_ebpc.__version__)}"):
            configure(tmp_path / wanted, installed_prefix, f"-DWANTED_VERSION={wanted}")


def test_every_installed_header_compiles_by_itself(installed_prefix):
    headers = sorted((installed_prefix / "include").rglob("*.h"))
    names = {str(header.relative_to(installed_prefix / "include")) for header in headers}
    assert {"ebpc/container.h", "ebpc/codec.h", "ebpc/kernels/dispatch.h"} <= names
    text = "".join(f'#include "{name}"\n' for name in sorted(names, reverse=True))
    include = f"-I{installed_prefix / 'include'}"
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    command = [*compiler, "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", include, "-xc++", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
