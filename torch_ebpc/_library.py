"""Loads the operators' library, once, when torch_ebpc is imported."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import torch

_PACKAGE = Path(__file__).resolve().parent


def _hint() -> str:
    """What to do when the library is missing or does not fit."""
    folder = _PACKAGE.parent
    if (folder / "setup.py").exists():
        return (
            f"You are importing the source folder {folder}, which hides an installed torch_ebpc."
            " Change to another folder, or build the library in this one: 'pip install -e .'."
        )
    return "Install torch_ebpc again: 'pip install .' in its source folder."


try:
    __version__: str = importlib.metadata.version("torch_ebpc")
except importlib.metadata.PackageNotFoundError:
    raise ImportError(f"torch_ebpc is not installed. {_hint()}") from None

LIBRARY_PATH = _PACKAGE / "lib" / "libtorch_ebpc.so"

cmake_prefix_path: str = str(_PACKAGE / "share" / "cmake")
"""Where CMake's ``find_package(torch_ebpc)`` finds the C++ libraries and headers, as
``torch.utils.cmake_prefix_path`` for LibTorch."""


def load() -> None:
    """Registers ``torch.ops.torch_ebpc.*``.

    Raises:
        ImportError: the library is missing, does not load, or is of another version.
    """
    hint = _hint()
    if not LIBRARY_PATH.exists():
        raise ImportError(f"torch_ebpc's library is missing: {LIBRARY_PATH} does not exist. {hint}")
    try:
        torch.ops.load_library(LIBRARY_PATH)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise ImportError(
            f"torch_ebpc's library {LIBRARY_PATH} does not load into torch {torch.__version__}"
            f" (2.10 or newer is needed): {error}. {hint}"
        ) from error
    library_version = torch.ops.torch_ebpc.version()
    if library_version != __version__:
        raise ImportError(
            f"torch_ebpc is version {__version__}, but its library {LIBRARY_PATH} is version"
            f" {library_version}. {hint}"
        )
