"""``torch-ebpc compress`` and ``decompress``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from torch_ebpc.cli.formats import (
    COMPRESSORS,
    DECOMPRESSORS,
    Converter,
    Kind,
    check_packed,
    kind_of,
)
from torch_ebpc.cli.streams import (
    PIPE,
    check_source,
    check_target,
    named,
    opened_source,
    opened_target,
    shown,
)

SUFFIX = ".ebpc"


def compress(options: argparse.Namespace) -> int:
    _convert_all(options, COMPRESSORS, lambda name: name + SUFFIX)
    return 0


def decompress(options: argparse.Namespace) -> int:
    _convert_all(options, DECOMPRESSORS, _without_suffix)
    return 0


def _convert_all(
    options: argparse.Namespace,
    converters: dict[Kind, Converter],
    default: Callable[[str], str],
) -> None:
    if options.output is not None and len(options.files) > 1:
        raise ValueError(f"--output takes one FILE, got {len(options.files)}")
    pairs = []
    for name in options.files:
        check_source(name)
        target = options.output
        if target is None:
            target = PIPE if name == PIPE else default(name)
        check_target(target, force=options.force)
        pairs.append((name, target))
    for name, target in pairs:
        _convert(name, target, options, converters)


def _without_suffix(name: str) -> str:
    if not name.endswith(SUFFIX):
        raise ValueError(f"{name}: give --output FILE, since its name does not end in {SUFFIX}")
    name = name.removesuffix(SUFFIX)
    return name if Path(name).suffix else f"{name}.npy"


def _convert(
    name: str, target: str, options: argparse.Namespace, converters: dict[Kind, Converter]
) -> None:
    with opened_source(name) as path, named(name):
        kind = kind_of(path)
        if kind not in converters:
            check_packed(kind == "container", expected="container" in converters)
        with opened_target(target, force=options.force) as file:
            converters[kind](path, file, target, options)
            file.flush()
            before, after = path.stat().st_size, Path(file.name).stat().st_size
    if not options.quiet:
        sizes = f"{before:,} -> {after:,} bytes"
        plain, packed = (after, before) if converters is DECOMPRESSORS else (before, after)
        ratio = f"{plain / packed:{'.2f' if plain > 0.1 * packed else '.1g'}}"
        grown = " (larger than before)" if packed > plain and packed == after else ""
        print(
            f"{shown(name)} -> {shown(target, 'output')}: {sizes}, ratio {ratio}{grown}",
            file=sys.stderr,
        )
