"""Builds and runs the C++ program of this folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

import torch_ebpc

SOURCE = Path(__file__).parent
BUILD = SOURCE.parents[1] / "build" / "libtorch"


def build(source: Path = SOURCE, folder: Path = BUILD) -> None:
    """Builds a CMake project that finds LibTorch and torch_ebpc in this Python's packages. What is
    built is not built again.

    Raises:
        RuntimeError: it cannot be built.
    """
    prefixes = f"{torch.utils.cmake_prefix_path};{torch_ebpc.cmake_prefix_path}"
    call_cmake("-S", source, "-B", folder, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefixes}")
    call_cmake("--build", folder)


def call_cmake(*arguments: Any) -> None:
    """Raises a RuntimeError with what CMake says where it fails."""
    command = ["cmake", *map(str, arguments)]
    # CMake and Ninja may be packages of this Python.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
