"""This build of the library beside another one, in the same run: each in a process of its own, and
in turns, so that a machine whose speed drifts favours neither."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
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


def requests(maps: Mapping[str, Sequence[Tensor]], kernels: Sequence[str]) -> list[dict[str, Any]]:
    """What is compared of all 8-bit and bfloat16 maps, and of one of 64 KB."""
    best, *others = kernels
    options = {
        "N=8": {},
        "N=16, reused": {"block_size": 16, "base": "reused"},
        "auto": {"codec": "auto"},
    }
    rows = [(data, settings, best, 1) for data in maps for settings in options if data != "64 KB"]
    rows += [(data, "N=8", best, 2) for data in maps if data != "64 KB"]
    rows += [("64 KB", "N=8", best, 1), *(("int8", "N=8", kernel, 1) for kernel in others)]
    found = []
    for data, settings, kernel, threads in rows:
        size = sum(x.nbytes for x in maps[data])
        found.append(
            {
                "data": data, "settings": f"{settings} {kernel}, {threads} thread",
                "options": options[settings], "kernel": kernel, "threads": threads,
                "tensor_bytes": size, "repeat": max(1, (1 << 22) // size),
            }
        )  # fmt: skip
    return found


def small_tensor(maps: Sequence[Tensor]) -> Tensor:
    """64 KB out of the middle of the largest."""
    largest = max(maps, key=Tensor.numel).reshape(-1)
    count = _SMALL_BYTES // largest.element_size()
    begin = (largest.numel() - count) // 2
    return largest[begin : begin + count].clone()


def compare(maps: Mapping[str, Sequence[Tensor]], library: Path, rounds: int) -> pd.DataFrame:
    """Times this build and the one in ``library`` in turns; every round trip is verified before.

    Args:
        maps: tensors by name, "int8" among them.
        library: a folder that has a built package torch_ebpc, such as another checkout.

    Returns:
        A row for each time that a build has done a request.

    Raises:
        FileNotFoundError: there is none.
        RuntimeError: a build failed; its error is printed.
    """
    data = {**maps, "64 KB": [small_tensor(maps["int8"])]}
    asked = requests(data, torch_ebpc.kernels())
    here = Path(torch_ebpc.__file__).parent.parent
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tensors = Path(folder) / "tensors.pt"
        torch.save({name: list(each) for name, each in data.items()}, tensors)
        with Build(here, tensors) as this, Build(library, tensors) as other:
            builds = {"this": this, "other": other}
            for request, build in itertools.product(asked, builds.values()):
                build.ask({**request, "repeat": 1, "verify": True})
            for index in tqdm(range(rounds), desc="comparing builds", unit="round"):
                turn = 1 if index % 2 == 0 else -1
                for request in asked[::turn]:
                    for name in list(builds)[::turn]:
                        answer = builds[name].ask(request)
                        rows.append({**request, "round": index, "build": name, **answer})
    return pd.DataFrame(rows)


def table(rows: pd.DataFrame) -> str:
    """Speeds of both builds in GB/s, and this one's over the other's: the median of the rounds'
    quotients, and their 10th and 90th percentile."""
    lines = []
    for (data, settings), found in rows.groupby(["data", "settings"], sort=False):
        both = [found[found["build"] == name].set_index("round") for name in ("this", "other")]
        this, other = both
        line = [data, settings]
        for direction in _DIRECTIONS:
            low, median, high = (other[direction] / this[direction]).quantile([0.1, 0.5, 0.9])
            size, seconds = this["tensor_bytes"].iloc[0], [each[direction] for each in both]
            line += [f"{size / each.median() / 1e9:.2f}" for each in seconds]
            line.append(f"{median:.2f} ({low:.2f}-{high:.2f})")
        lines.append([*line, f"{this['bytes'].iloc[0] / other['bytes'].iloc[0]:.4f}"])
    each = [name for direction in _DIRECTIONS for name in (f"{direction} GB/s", "other", "x other")]
    return Table("", ["data", "settings", *each, "bytes x other"], lines).text()
