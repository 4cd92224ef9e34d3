"""``torch-ebpc doctor``: what is installed, what runs, and whether it works."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor

import torch_ebpc
from torch_ebpc.ops import DTYPES

FAILED = 1
_OPTIONAL_PACKAGES = {
    "numpy": ".npy files",
    "safetensors": ".safetensors files",
    "tqdm": "progress",
    "torchvision": "measure: networks and images by name",
    "pillow": "measure: images",
    "matplotlib": "plots",
    "pandas": "Report.to_pandas",
}
# Two cases of each width, block size and sign in tests/golden/ebpc_streams.json.
_CASES = Path(__file__).with_name("self_test.json")


def doctor(options: argparse.Namespace) -> int:
    print(torch_ebpc.show_config())
    print(f"python {platform.python_version()} on {platform.platform()}")
    print("\noptional packages")
    print(_indented([(name, _version(name), use) for name, use in _OPTIONAL_PACKAGES.items()]))
    print("\nself-test")
    results = {name: list(_failures(name)) for name in torch_ebpc.kernels()}
    print(_indented([(name, "FAILED" if each else "passed") for name, each in results.items()]))
    for name, failures in results.items():
        for failure in failures:
            print(f"  {name}: {failure}")
    return FAILED if any(results.values()) else 0


def _indented(rows: list[tuple[str, ...]]) -> str:
    table = str(tabulate(rows, tablefmt="plain", disable_numparse=True))
    return "\n".join(f"  {line}" for line in table.splitlines())


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _failures(kernel: str) -> Iterator[str]:
    """What a kernel gets wrong, a line each."""
    with torch_ebpc.use_kernel(kernel):
        for case in json.loads(_CASES.read_text()):
            for base in ("sent", "reused"):
                wrong = _wrong_in(case, base)
                if wrong:
                    yield f"{case['name']}, base {base}: {wrong}"
        for dtype in DTYPES:
            x = _bits(dtype)
            packed = torch_ebpc.compress(x)
            with torch_ebpc.use_kernel("portable"):
                expected = torch_ebpc.compress(x)
            if not torch.equal(packed, expected):
                yield f"{dtype}: other bytes than the portable kernel's"
            if not _same(torch_ebpc.decompress(packed), x):
                yield f"{dtype}: what was compressed does not come back"


def _wrong_in(case: dict[str, Any], base: str) -> str:
    """Which of a golden case's results is wrong; empty if none is."""
    width = case["word_bits"]
    dtype = {8: torch.int8, 16: torch.int16, 32: torch.int32}[max(8, 1 << (width - 1).bit_length())]
    x = torch.tensor(case["words"], dtype=dtype if case["signed"] else torch.uint8)
    code = (width, case["block_size"], case["max_zero_run"], base)
    plane = "plane_stream" if base == "sent" else "plane_stream_reused_base"

    streams = torch_ebpc.encode(x, *code)
    found = (
        streams.zero_bits,
        bytes(streams.zero_stream.tolist()).hex(),
        streams.plane_bits,
        bytes(streams.plane_stream.tolist()).hex(),
    )
    expected = tuple(
        case[name] for name in ("zero_stream_bits", "zero_stream", f"{plane}_bits", plane)
    )
    if found != expected:
        return "other streams than the golden ones"
    if torch_ebpc.count_bits(x, "ebpc", *code) != streams.bits:
        return "counted other bits than were written"
    if not _same(torch_ebpc.decode(streams), x):
        return "what was encoded does not come back"
    if not _same(torch_ebpc.decompress(torch_ebpc.compress(x, *code)), x):
        return "what was compressed does not come back"
    return ""


def _bits(dtype: torch.dtype) -> Tensor:
    """Words of any bits, half of them zero, in more than one segment; the same every time."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(-(2**31), 2**31, (2, 5000), generator=generator)
    words *= torch.randint(0, 2, words.shape, generator=generator)
    if dtype == torch.bool:
        return words != 0
    return words.view(torch.uint8)[:, : 5000 * dtype.itemsize].contiguous().view(dtype)


def _same(found: Tensor, expected: Tensor) -> bool:
    """NaN and -0.0 too."""
    return found.dtype == expected.dtype and torch.equal(
        found.view(torch.uint8), expected.view(torch.uint8)
    )
