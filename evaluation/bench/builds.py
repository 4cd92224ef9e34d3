"""This build of the library beside another one, in the same run: each in a process of its own, and
in turns, so that a machine whose speed drifts favours neither."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor
from tqdm import tqdm

import torch_ebpc
from evaluation.common.tables import Table

_DIRECTIONS = ("compress", "decompress")
_SMALL_BYTES = 1 << 16


class Build:
    """A build of torch_ebpc in a process of its own.

    Raises:
        FileNotFoundError: the folder has no package torch_ebpc.
    """

    def __init__(self, library: Path, tensors: Path) -> None:
        if not (library / "torch_ebpc" / "__init__.py").is_file():
            raise FileNotFoundError(
                f"expected a folder with a built package torch_ebpc in it, got {library}"
            )
        worker = Path(__file__).with_name("build_worker.py")
        # A safe path: without the worker's own folder, or the one that it is started in.
        environment = os.environ | {"PYTHONPATH": str(library.resolve()), "PYTHONSAFEPATH": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(worker), str(tensors)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        loaded = Path(self._answer())
        if loaded.parent.parent != library.resolve():
            raise FileNotFoundError(f"expected torch_ebpc of {library}, python took {loaded}")

    def __enter__(self) -> Build:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def ask(self, request: Mapping[str, Any]) -> dict[str, float]:
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer: dict[str, float] = self._answer()
        return answer

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a build's process ended with {self._process.wait()}")
        return json.loads(line)


@dataclasses.dataclass
class Comparison:
    """One setting on one kind of data, by both builds: this one first."""

    data: str
    settings: str
    request: dict[str, Any]
    data_bytes: int
    answers: tuple[list[dict[str, float]], list[dict[str, float]]] = dataclasses.field(
        default_factory=lambda: ([], [])
    )

    def speed(self, build: int, direction: str) -> float:
        """The median, in bytes a second."""
        return self.data_bytes / float(numpy.median([x[direction] for x in self.answers[build]]))

    def gains(self, direction: str) -> list[float]:
        """This build's speed over the other's, of each round."""
        return [b[direction] / a[direction] for a, b in zip(*self.answers, strict=True)]

    def packed_bytes(self, build: int) -> int:
        return int(self.answers[build][0]["bytes"])


def comparisons(maps: Mapping[str, Sequence[Tensor]], kernels: Sequence[str]) -> list[Comparison]:
    """What is compared of all 8-bit and bfloat16 maps, and of one of 64 KB."""
    best = kernels[0]
    options = {
        "N=8": {},
        "N=16, reused": {"block_size": 16, "base": "reused"},
        "auto": {"codec": "auto"},
    }
    rows = [(data, settings, best, 1) for data in maps for settings in options if data != "64 KB"]
    rows += [(data, "N=8", best, 2) for data in maps if data != "64 KB"]
    rows += [("64 KB", "N=8", best, 1), *(("int8", "N=8", kernel, 1) for kernel in kernels[1:])]
    found = []
    for data, settings, kernel, threads in rows:
        size = sum(x.numel() * x.element_size() for x in maps[data])
        request = {
            "data": data, "options": options[settings], "kernel": kernel, "threads": threads,
            "repeat": max(1, (1 << 22) // size), "verify": False,
        }  # fmt: skip
        found.append(Comparison(data, f"{settings} {kernel}, {threads} thread", request, size))
    return found


def small_tensor(maps: Sequence[Tensor]) -> Tensor:
    """64 KB out of the middle of the largest."""
    largest = max(maps, key=Tensor.numel).reshape(-1)
    count = _SMALL_BYTES // largest.element_size()
    begin = (largest.numel() - count) // 2
    return largest[begin : begin + count].clone()


def compare(
    maps: Mapping[str, Sequence[Tensor]],
    library: Path,
    rounds: int,
) -> list[Comparison]:
    """Times this build and the one in ``library`` in turns; every round trip is verified before.

    Args:
        maps: tensors by name, "int8" among them.
        library: a folder that has a built package torch_ebpc, such as another checkout.

    Raises:
        FileNotFoundError: there is none.
        RuntimeError: a build failed; its error is printed.
    """
    data = {**maps, "64 KB": [small_tensor(maps["int8"])]}
    rows = comparisons(data, torch_ebpc.kernels())
    here = Path(torch_ebpc.__file__).parent.parent
    with tempfile.TemporaryDirectory() as folder:
        tensors = Path(folder) / "tensors.pt"
        torch.save({name: list(each) for name, each in data.items()}, tensors)
        with Build(here, tensors) as this, Build(library, tensors) as other:
            for row in rows:
                for build in (this, other):
                    build.ask({**row.request, "repeat": 1, "verify": True})
            for index in tqdm(range(rounds), desc="comparing builds", unit="round"):
                for row in rows if index % 2 == 0 else reversed(rows):
                    for i, build in ((0, this), (1, other))[:: 1 if index % 2 == 0 else -1]:
                        row.answers[i].append(build.ask(row.request))
    return rows


def table(rows: Sequence[Comparison]) -> str:
    """Speeds of both builds in GB/s, and this one's over the other's: the median of the rounds'
    quotients, and their 10th and 90th percentile."""
    lines = []
    for row in rows:
        line = [row.data, row.settings]
        for direction in _DIRECTIONS:
            low, median, high = numpy.percentile(row.gains(direction), (10, 50, 90))
            line += [f"{row.speed(build, direction) / 1e9:.2f}" for build in (0, 1)]
            line.append(f"{median:.2f} ({low:.2f}-{high:.2f})")
        lines.append([*line, f"{row.packed_bytes(0) / row.packed_bytes(1):.4f}"])
    each = [name for direction in _DIRECTIONS for name in (f"{direction} GB/s", "other", "x other")]
    return Table("", ["data", "settings", *each, "bytes x other"], lines).text()
