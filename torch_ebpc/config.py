"""Which kernel runs, and on what."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator

import torch

from torch_ebpc._library import LIBRARY_PATH, __version__
from torch_ebpc.errors import translated


def kernel() -> str:
    """The name of the kernel in use: ``"avx512"``, ``"avx2"`` or ``"portable"``.

    It is the fastest that this CPU can run, or what the environment variable TORCH_EBPC_KERNEL
    names.

    Raises:
        ValueError: the variable names no kernel, or one that this CPU cannot run.

    Example:
        >>> torch_ebpc.kernel() in torch_ebpc.kernels()
        True
    """
    with translated():
        name: str = torch.ops.torch_ebpc.kernel()
    return name


def kernels() -> tuple[str, ...]:
    """The names of all kernels that this CPU can run, the fastest first.

    Example:
        >>> torch_ebpc.kernels()[-1]
        'portable'
    """
    return tuple(torch.ops.torch_ebpc.kernels().split())


@contextlib.contextmanager
def use_kernel(name: str) -> Iterator[None]:
    """Inside of it another kernel runs, in all threads; for tests and benchmarks, since all kernels
    write the same bytes.

    Raises:
        ValueError: there is no kernel of that name, or this CPU cannot run it.

    Example:
        >>> with torch_ebpc.use_kernel("portable"):
        ...     print(torch_ebpc.kernel())
        portable
    """
    before = kernel()
    with translated():
        torch.ops.torch_ebpc.use_kernel(name)
    try:
        yield
    finally:
        torch.ops.torch_ebpc.use_kernel(before)


def cpu_name() -> str:
    """The CPU's model, as the operating system calls it."""
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def show_config() -> str:
    """Versions, library, CPU, threads and kernels as text, for bug reports.

    Example:
        >>> print(torch_ebpc.show_config())  # doctest: +ELLIPSIS
        torch_ebpc ...
        torch ..., ... threads
        cpu ...
        kernel ... (this CPU runs: ...portable)
    """
    return "\n".join(
        [
            f"torch_ebpc {__version__} ({LIBRARY_PATH})",
            f"torch {torch.__version__}, {torch.get_num_threads()} threads",
            f"cpu {cpu_name()}",
            f"kernel {kernel()} (this CPU runs: {', '.join(kernels())})",
        ]
    )
