"""The arguments of one call of a model, from a file."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from pathlib import Path
from typing import Any

import torch

from torch_ebpc.cli.streams import named


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What a model is called with once, and what a report has to say about it."""

    path: Path
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]

    def __str__(self) -> str:
        values = [*(("", x) for x in self.arguments), *self.keywords.items()]
        return f"{self.path.name}: " + ", ".join(
            f"{name}{'=' if name else ''}{_described(x)}" for name, x in values
        )

    def sha256(self) -> str:
        """Of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def read_inputs(path: Path) -> Inputs:
    """Of a .npy or .npz file, or one of ``torch.save``.

    An array or tensor is the only argument. A list or tuple has all arguments, a dict those by
    name. In a .npz file ``arr_0``, ``arr_1`` ... (as ``numpy.savez(file, x, y)`` names them) are
    arguments in this order, other arrays those by name, and arrays without dimensions are numbers.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds something else.
    """
    with named(str(path)):
        content = _numpy_content(path) if _is_numpy(path) else _torch_content(path)
    keywords = content if isinstance(content, dict) else {}
    if not all(isinstance(name, str) for name in keywords):
        raise ValueError(f"{path}: expected names of arguments, found the keys {list(keywords)}")
    arguments = tuple(content) if isinstance(content, (list, tuple)) else (content,)
    if isinstance(content, dict):
        arguments = ()
    if not arguments and not keywords:
        raise ValueError(f"{path}: expected the arguments of a model, found none")
    return Inputs(path, arguments, keywords)


def _is_numpy(path: Path) -> bool:
    with path.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            return True
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return all(name.endswith(".npy") for name in archive.namelist())


def _numpy_content(path: Path) -> Any:
    import numpy as np

    content = np.load(path, allow_pickle=False)
    if isinstance(content, np.ndarray):
        return torch.from_numpy(content)
    with content:
        values = {
            name: torch.from_numpy(content[name]) if content[name].ndim else content[name].item()
            for name in content.files
        }
    positions = [f"arr_{i}" for i in range(len(values))]
    return [values[name] for name in positions] if set(positions) == set(values) else values


def _torch_content(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # pickle's, zip's and PyTorch's own, of many lines
        raise ValueError(
            "expected a .npy or .npz file, or tensors, numbers and strings by torch.save, found:"
            f" {str(error).splitlines()[0]}"
        ) from error


def _described(x: Any) -> str:
    if not isinstance(x, torch.Tensor):
        return repr(x)
    return f"{str(x.dtype).removeprefix('torch.')} {'x'.join(map(str, x.shape))}"
