"""``torch-ebpc`` and what there is little of: named pipes, full disks, limits on memory."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Pipe, array, error_of, state
from safetensors.torch import save_file

import torch_ebpc
from torch_ebpc.cli.main import main

pytestmark = pytest.mark.usefixtures("in_folder")


def test_pipes_are_taken_by_name_too(capsys):
    np.save("x.npy", array("int8"))
    assert main(["compress", "x.npy"]) == 0
    os.mkfifo("fifo")
    for command, source in (("compress", "x.npy"), ("decompress", "x.npy.ebpc")):
        writer = threading.Thread(target=Path("fifo").write_bytes, args=[Path(source).read_bytes()])
        writer.start()
        assert main([command, "fifo", "-o", f"from_{command}"]) == 0, capsys.readouterr().err
        writer.join()
    assert Path("from_compress").read_bytes() == Path("x.npy.ebpc").read_bytes()
    assert Path("from_decompress").read_bytes() == Path("x.npy").read_bytes()


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a disk that is full then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("kind", ["npy", "pt", "safetensors"])
def test_a_file_that_cannot_be_written_is_named_with_the_reason(capsys, tmp_path, kind):
    x = torch.randint(-128, 128, (300_000,), dtype=torch.int8)
    if kind == "npy":
        np.save("x.npy", x.numpy())
    elif kind == "pt":
        torch.save(x, "x.pt")
    else:
        save_file({"x": x}, "x.safetensors")
    commands = [["compress", f"x.{kind}"], ["decompress", f"x.{kind}.ebpc", "-o", "y"]]
    if kind == "npy":
        commands.append(["decompress", "x.npy.ebpc", "-o", "y.pt"])
    for command in commands:
        with files_of_at_most(100_000):
            assert main(command) == 2
        target = command[-1] if "-o" in command else f"{command[1]}.ebpc"
        assert error_of(capsys) == f"{tmp_path.resolve() / target}: File too large"
        assert not Path(target).exists()
        assert main(command) == 0
        capsys.readouterr()


def test_a_folder_of_temporary_files_that_is_full_is_named(capsys, monkeypatch, tmp_path):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    np.save("x.npy", np.random.default_rng(0).integers(0, 256, 300_000, np.uint8))
    monkeypatch.setattr(sys, "stdin", Pipe(Path("x.npy").read_bytes()))
    for command in (["compress", "-o", "y"], ["compress", "x.npy", "-o", "-"]):
        with files_of_at_most(100_000):
            assert main(command) == 2
        assert error_of(capsys) == f"{tmp_path / 'temporary'}: File too large"
    assert os.listdir("temporary") == []


@pytest.mark.parametrize("kind", ["npy", "pt", "safetensors"])
def test_what_reaches_the_disk_is_the_file_itself(monkeypatch, kind):
    if kind == "npy":
        np.save("x.npy", array("int8"))
    elif kind == "pt":
        torch.save(state(), "x.pt")
    elif kind == "safetensors":
        save_file(state(), "x.safetensors")
    Path("y").touch(0o600)
    fsync, synced = os.fsync, []

    def recorded(descriptor):
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    assert main(["compress", f"x.{kind}", "-o", "y", "--force"]) == 0
    assert synced == [Path("y").stat().st_ino, Path().stat().st_ino]
    assert Path("y").stat().st_mode & 0o777 == 0o600


def expanded_file() -> str:
    """A small file of 400 MB of tensors."""
    torch.save({"x": [torch.zeros(1).expand(50_000_000)] * 2}, "x.pt")
    return "400000000"


def deflated_file() -> str:
    """Torch's archive, compressed."""
    torch.save(torch.zeros(10_000_000, dtype=torch.uint8), "y.pt")
    with zipfile.ZipFile("y.pt") as plain, zipfile.ZipFile("x.pt", "w") as deflated:
        for each in plain.infolist():
            deflated.writestr(each.filename, plain.read(each), zipfile.ZIP_DEFLATED)
    return r"10\d{6}"


@pytest.mark.parametrize("command", ["compress", "inspect", "decompress"])
@pytest.mark.parametrize("make", [expanded_file, deflated_file])
def test_a_small_pt_file_of_large_tensors_is_refused(capsys, monkeypatch, command, make):
    found = make()
    assert Path("x.pt").stat().st_size < 100_000

    def never(*arguments, **options):
        pytest.fail("it has been loaded, or written out")

    for module, name in ((torch_ebpc, "pack"), (torch_ebpc, "count_bits"), (torch_ebpc, "unpack")):
        monkeypatch.setattr(module, name, never)
    if make is deflated_file:
        monkeypatch.setattr(torch, "load", never)
    output = [] if command == "inspect" else ["-o", "z"]
    assert main([command, "x.pt", "--max-bytes", "5M", *output]) == 2
    message = (
        rf"x\.pt: expected tensors of at most 5242880 bytes, found {found}; --max-bytes allows"
    )
    assert re.match(message, error_of(capsys))


def test_tensors_that_are_expanded_are_taken_within_the_limit(capsys):
    torch.save({"x": torch.zeros(1).expand(50_000)}, "x.pt")
    assert main(["inspect", "x.pt"]) == 0
    assert main(["compress", "x.pt", "--max-bytes", "200000"]) == 0
    assert main(["inspect", "x.pt", "--max-bytes", "199999"]) == 2
