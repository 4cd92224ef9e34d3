"""Freed memory leaves the process, where it is glibc's malloc that would keep it."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import torch
from helpers import ROOT, python, small_network

from torch_ebpc import _malloc, save_compressed
from torch_ebpc._malloc import Trimmer

needs_glibc = pytest.mark.skipif(
    _malloc.find_malloc_trim() is None, reason="memory does not come from glibc's malloc"
)


def run(program: str, **environment: str) -> str:
    """What a process of its own prints."""
    return python("-c", program, check=True, PYTHONPATH=str(ROOT), **environment).stdout


HOLES = """
import sys, torch
from torch_ebpc._malloc import Trimmer, resident_bytes

del (large := [torch.empty(28 << 20, dtype=torch.uint8)])[:]  # smaller ones are in the heap now
blocks = [torch.ones(1 << 18) for _ in range(128)]
del blocks[::2]
trimmer = Trimmer(sys.argv[-1] == "True")
before = resident_bytes()
trimmer.passed(64 << 20)
print(trimmer.trims, (before - resident_bytes()) >> 20)
"""


@needs_glibc
@pytest.mark.parametrize("enabled", [True, False])
def test_holes_that_freed_tensors_leave_are_given_back(enabled):
    trims, megabytes = map(int, run(HOLES.replace("sys.argv[-1]", f"'{enabled}'")).split())
    assert trims == enabled
    assert megabytes >= 60 if enabled else megabytes <= 4


OTHER_MALLOC = """
#include <stddef.h>
void *__libc_malloc(size_t);
void *malloc(size_t bytes) { return __libc_malloc(bytes); }
"""


@needs_glibc
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_another_allocator_that_is_loaded_before_is_left_alone(tmp_path):
    (tmp_path / "malloc.c").write_text(OTHER_MALLOC)
    library = tmp_path / "malloc.so"
    command = ["cc", "-shared", "-fPIC", "-o", library, tmp_path / "malloc.c"]
    subprocess.run(command, check=True)
    program = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("malloc", {_malloc.__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(module.find_malloc_trim() is None)
"""
    assert run(program).strip() == "False"
    assert run(program, LD_PRELOAD=str(library)).strip() == "True"


@pytest.fixture
def trims(monkeypatch):
    """Counts calls instead of trimming, in a process that has needed nothing yet."""
    calls: list[int] = []
    monkeypatch.setattr(_malloc, "find_malloc_trim", lambda: lambda pad: calls.append(pad) or 1)
    monkeypatch.setattr(_malloc, "_needed_bytes", 0)
    return calls


@pytest.mark.parametrize("trim", [True, False])
def test_the_report_tells_how_often_memory_was_given_back(trims, trim, monkeypatch):
    monkeypatch.setattr(_malloc, "resident_bytes", lambda: 100 << 20)
    saved = save_compressed(trim=trim)
    x = torch.randn(8, 3, 96, 96)
    with saved:
        loss = small_network()(x).sum()
    in_forward = saved.report().trims
    loss.backward()
    report = saved.report()
    assert report.trims == len(trims) == trim
    assert in_forward == trim
    assert report.provenance["trim"] is trim
    assert (report.trim_seconds > 0) == trim
    assert ("given back to the system: 1 times" in report.footing()) == trim


def test_what_was_needed_once_is_not_given_back_again(trims, monkeypatch):
    """However often it is looked at; only what is beyond it, by more than a 64th."""
    resident = 100 << 20
    monkeypatch.setattr(_malloc, "resident_bytes", lambda: resident)
    counts = []
    for megabytes in (100, 100, 50, 102, 200, 100, 203, 640, 649, 651):
        resident = megabytes << 20
        Trimmer(True).passed(8 << 20)
        counts.append(len(trims))
    assert counts == [1, 1, 1, 1, 2, 2, 2, 3, 3, 4]


def test_little_that_passes_is_not_looked_at(trims, monkeypatch):
    looks: list[None] = []
    monkeypatch.setattr(_malloc, "resident_bytes", lambda: looks.append(None) or 0)
    trimmer = Trimmer(True)
    for _ in range(5):
        trimmer.passed(300_000)
    assert len(looks) == 1
