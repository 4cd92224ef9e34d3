"""What the tests of the command line give it, and what it says."""

from __future__ import annotations

import io

import numpy as np
import torch
from sample_inputs import feature_map


def array(dtype: str, shape=(3, 50, 70)) -> np.ndarray:
    return feature_map(getattr(torch, dtype), shape).numpy()


def state() -> dict[str, torch.Tensor]:
    return {
        "weight": feature_map(torch.float32, (40, 50)),
        "bias": torch.linspace(-1, 1, 3, dtype=torch.bfloat16),  # too small to gain
        "bytes": torch.arange(9, dtype=torch.uint8),
        "steps": torch.tensor(7),
        "double": torch.linspace(-1, 1, 3, dtype=torch.float64),
        "mask": torch.tensor([True, False]),
    }


def error_of(capsys) -> str:
    error = capsys.readouterr().err
    assert "Traceback" not in error
    _, mark, message = error.partition("torch-ebpc: error: ")
    assert mark, error
    return message.rstrip("\n")


class Pipe(io.TextIOWrapper):
    """Standard input that is not a terminal."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
