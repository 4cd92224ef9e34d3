"""``torch-ebpc inspect``: what is in a file."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor

import torch_ebpc
from torch_ebpc._arguments import TRAITS
from torch_ebpc._bits import negative_zeros
from torch_ebpc.cli.formats import (
    held_bytes,
    kind_of,
    named_tensors,
    open_safetensors,
    read_npy,
    read_pt,
)
from torch_ebpc.cli.streams import named, opened_source, shown
from torch_ebpc.nested import is_container, packable
from torch_ebpc.report import METHOD_TITLES

_METHODS = ("ebpc", "zvc", "zero_rle")


def inspect(options: argparse.Namespace) -> int:
    described = []
    for name in options.files:
        with opened_source(name) as path, named(name):
            described.append({"file": shown(name), **_description(path, options.max_bytes)})
    if options.json:
        print(json.dumps(described[0] if len(described) == 1 else described, indent=1))
    else:
        print("\n\n".join(_text(each) for each in described))
    return 0


def _description(path: Path, max_bytes: int | None) -> dict[str, Any]:
    kind = kind_of(path)
    if kind == "container":
        info = torch_ebpc.inspect(torch_ebpc.map_file(path))
        fields = dataclasses.asdict(info)
        fields["codings"] = {each.coding: each.segments for each in info.codings}
        derived = {name: getattr(info, name) for name in ("stream_bits", "tensor_bytes", "ratio")}
        return {"kind": kind, **fields, "dtype": _name(info.dtype), **derived}
    if kind == "npy":
        return {"kind": kind, "packed": False, **_tensors([("", read_npy(path))], packed=False)}
    if kind == "pt":
        content, packed = read_pt(path, max_bytes)
        return {"kind": kind, "packed": packed, **_tensors(named_tensors(content), packed=packed)}
    with open_safetensors(path) as (file, metadata, packed):
        tensors = ((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118
        described = {"kind": kind, "packed": packed, **_tensors(tensors, packed=packed)}
    return {**described, "metadata": metadata}


def _tensors(tensors: Iterable[tuple[str, Tensor]], *, packed: bool) -> dict[str, Any]:
    """A record of each tensor and their total. Of files that are not packed the bits of those
    tensors are counted that can be packed; in the total's ``bytes`` and ``bits`` the others stand
    as they are, and ``counted_bytes`` and ``counted_bits`` are without them."""
    records: list[dict[str, Any]] = []
    for name, x in tensors:
        if packed and is_container(x):
            info = torch_ebpc.inspect(x.detach())
            record = {
                "dtype": _name(info.dtype),
                "shape": info.shape,
                "bytes": info.tensor_bytes,
                "container_bytes": info.container_bytes,
            }
        else:
            record = {"dtype": _name(x.dtype), "shape": _shape(x), "bytes": held_bytes(x)}
            if not packed and packable(x):
                bits = {method: torch_ebpc.count_bits(x, method) for method in _METHODS}
                # By bit pattern, as the codec sees them: ZVC's bits are one for each word, and the
                # word if it is not zero.
                of = TRAITS[x.dtype]
                words = x.numel() * of.element_words
                non_zeros = (bits["zvc"] - words) // of.word_bits
                record |= {"words": words, "zeros": words - non_zeros, "bits": bits}
                record["negative_zeros"] = negative_zeros(x.detach())
        records.append({"name": name, **record})
    total_bytes = sum(record["bytes"] for record in records)
    total: dict[str, Any] = {"bytes": total_bytes}
    if packed:
        total["packed_bytes"] = sum(each.get("container_bytes", each["bytes"]) for each in records)
    else:
        counted = [record for record in records if "bits" in record]
        counted_bytes = sum(record["bytes"] for record in counted)
        counted_bits = {
            method: sum(record["bits"][method] for record in counted) for method in _METHODS
        }
        as_it_is = 8 * (total_bytes - counted_bytes)
        total["bits"] = {method: bits + as_it_is for method, bits in counted_bits.items()}
        total |= {"counted_bytes": counted_bytes, "counted_bits": counted_bits}
    return {"tensors": records, "total": total}


# ---- As text -------------------------------------------------------------------------------------


def _text(described: dict[str, Any]) -> str:
    if described["kind"] == "container":
        lines = [
            (name.replace("_", " "), _value(value))
            for name, value in described.items()
            if name not in ("file", "kind")
        ]
        table = tabulate(lines, tablefmt="plain", disable_numparse=True)
        return f"{described['file']}: container\n{table}"
    packed = "packed " if described["packed"] else ""
    parts = [f"{described['file']}: {packed}.{described['kind']} file", _table(described)]
    if described.get("metadata"):
        parts.append(f"metadata: {json.dumps(described['metadata'])}")
    return "\n".join(parts)


def _table(described: dict[str, Any]) -> str:
    records, total = described["tensors"], described["total"]
    headers = ["tensor", "dtype", "shape", "bytes"]
    if described["packed"]:
        headers += ["container bytes", "ratio"]
        lines = [
            [f"{each['container_bytes']:,}", _ratio(each["bytes"], each["container_bytes"])]
            if "container_bytes" in each
            else ["", "as it is"]
            for each in records
        ]
        sums = [f"{total['packed_bytes']:,}", _ratio(total["bytes"], total["packed_bytes"])]
    else:
        headers += ["zeros %", *(f"{METHOD_TITLES[method]} ratio" for method in _METHODS)]
        lines = [
            [
                _zeros(each),
                *(_ratio(8 * each["bytes"], each["bits"][method]) for method in _METHODS),
            ]
            if "bits" in each
            else ["", *("as it is" for _ in _METHODS)]
            for each in records
        ]
        sums = [
            "",
            *(_ratio(8 * total["bytes"], total["bits"][method]) for method in _METHODS),
        ]
    rows = [
        [each["name"], each["dtype"], _value(each["shape"]), f"{each['bytes']:,}", *line]
        for each, line in zip(records, lines, strict=True)
    ]
    rows.append(["total", "", "", f"{total['bytes']:,}", *sums])
    alignment = ["left"] * 3 + ["right"] * (len(headers) - 3)
    return str(tabulate(rows, headers, colalign=alignment, disable_numparse=True))


def _zeros(record: dict[str, Any]) -> str:
    """The shares of words that are 0 and of numbers that are -0.0."""
    count = max(1, record["words"])
    share = f"{100 * record['zeros'] / count:.1f}"
    if record["negative_zeros"] == 0:
        return share
    return f"{share} + {100 * record['negative_zeros'] / count:.1f} of -0"


def _ratio(before: int, after: int) -> str:
    return f"{before / after:.2f}" if after else ""


def _value(value: object) -> str:
    if value is None:
        return "chosen by segment"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {count:,} segments" for name, count in value.items())
    if isinstance(value, tuple):
        return "x".join(map(str, value)) or "scalar"
    if isinstance(value, float):
        return f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _shape(x: Tensor) -> tuple[int | str, ...]:
    """Of a nested tensor with a ``*`` for sizes that differ."""
    if not x.is_nested:
        return tuple(x.shape)
    pieces = [tuple(piece.shape) for piece in x.detach().unbind()]
    return (
        len(pieces),
        *(sizes[0] if len(set(sizes)) == 1 else "*" for sizes in zip(*pieces, strict=True)),
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
