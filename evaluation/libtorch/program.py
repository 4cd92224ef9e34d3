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
        RuntimeError: it cannot be built; the message has what CMake says.
    """
    prefixes = f"{torch.utils.cmake_prefix_path};{torch_ebpc.cmake_prefix_path}"
    _call("cmake", "-S", source, "-B", folder, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefixes}")
    _call("cmake", "--build", folder)


def _call(*command: Any) -> None:
    # CMake and Ninja may be packages of this Python.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
