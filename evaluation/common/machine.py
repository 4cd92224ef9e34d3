"""This machine: its description, its threads, and what memory the process takes."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from torch_ebpc.report import software_versions


def machine() -> dict[str, Any]:
    return {**software_versions(), "platform": platform.platform()}


@contextlib.contextmanager
def with_threads(count: int) -> Iterator[None]:
    """With so many threads of PyTorch."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def reset_peak_memory() -> int:
    """Forgets the process's peak of resident memory; returns what is resident now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def peak_memory() -> int:
    return _memory("VmHWM")


def _memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {field}")
