"""Gives freed memory back to the system where glibc's malloc would keep it.

PyTorch asks glibc for aligned memory. The hole that a freed tensor leaves is then a little too
small for the next tensor of its size, so resident memory grows although no more is in use.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

# How often to look, in bytes saved or unpacked, and what may be resident beyond what was needed: a
# part of that, since the pages that a trim gives back are mostly needed again at once.
_LOOK_BYTES = 1 << 20
_SLACK_BYTES = 4 << 20
_SLACK_PART = 64


class _Symbol(ctypes.Structure):
    """``Dl_info`` of dlfcn.h."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("library", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def _library_of(library: ctypes.CDLL, name: str) -> int | None:
    """Where the library begins that has what this one, and those it needs, call by that name."""
    symbol = _Symbol()
    _PROCESS.dladdr(library[name], ctypes.byref(symbol))
    begin: int | None = symbol.library
    return begin


@functools.cache
def find_malloc_trim() -> Callable[[int], int] | None:
    """glibc's ``malloc_trim``; None where this process has another libc, or its memory from another
    allocator that was loaded before it (jemalloc, tcmalloc, mimalloc, a sanitizer)."""
    if sys.platform != "linux":
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")  # not PyDLL: other threads run Python during a call
        ours = _library_of(libc, "gnu_get_libc_version")
        trim: Callable[[int], int] = libc.malloc_trim
    except (OSError, AttributeError):
        return None
    # Not by the whole process, where an executable's own jump to malloc may be found in its place.
    lines = Path("/proc/self/maps").read_text().splitlines()
    for path in {
        line.split(maxsplit=5)[5] for line in lines if ".so" in line and "/ld-" not in line
    }:
        for name in ("malloc", "posix_memalign"):
            try:
                found = _library_of(ctypes.CDLL(path, os.RTLD_NOLOAD | os.RTLD_NOW), name)
            except (OSError, AttributeError):
                continue  # not a library, or it calls no such thing
            if found != ours:
                return None
    return trim


def resident_bytes() -> int:
    """Of this process, by Linux."""
    with open("/proc/self/statm", "rb", buffering=0) as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE


_PROCESS = ctypes.CDLL(None)
_trimming = threading.Lock()
# The most that was resident right after a trim, so that it was needed. malloc is the process's, and
# so is this: less than that need not be given back to keep the peak down, and comes back at once.
_needed_bytes = 0


class Trimmer:
    """Trims whenever the process has grown beyond what it has needed so far.

    Args:
        enabled: whether to trim at all.
    """

    def __init__(self, enabled: bool) -> None:
        self.trims = 0
        self.seconds = 0.0
        self._trim = find_malloc_trim() if enabled else None
        self._passed_bytes = 0

    @property
    def available(self) -> bool:
        """Whether memory comes from glibc's malloc, and this is enabled."""
        return self._trim is not None

    def passed(self, tensor_bytes: int) -> None:
        """So many bytes were saved or unpacked, which as a rule has freed memory."""
        global _needed_bytes
        if self._trim is None:
            return
        self._passed_bytes += tensor_bytes  # threads may lose some, which only delays a look
        if self._passed_bytes < _LOOK_BYTES or not _trimming.acquire(blocking=False):
            return
        try:
            self._passed_bytes = 0
            slack = max(_SLACK_BYTES, _needed_bytes // _SLACK_PART)
            if resident_bytes() <= _needed_bytes + slack:
                return
            begin = time.perf_counter()
            self._trim(0)
            self.seconds += time.perf_counter() - begin
            self.trims += 1
            _needed_bytes = max(_needed_bytes, resident_bytes())
        finally:
            _trimming.release()
