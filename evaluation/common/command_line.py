"""What the programs' command lines have in common."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from evaluation.common import inputs
from torch_ebpc.cli.images import ImageSet
from torch_ebpc.cli.networks import LoadedModel
from torch_ebpc.cli.settings import positive


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """The description as it is written, and defaults."""


def program(module: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of ``python -m`` a module."""
    prog = f"python -m {module.removesuffix('.__main__')}"
    return argparse.ArgumentParser(prog=prog, description=description, formatter_class=_Help)


def add_inputs(parser: argparse.ArgumentParser, limit: int | None = None) -> None:
    """The options that :func:`open_inputs` takes."""
    group = parser.add_argument_group("network and images")
    add = group.add_argument
    add("--weights", type=Path, metavar="FILE", help="a state dict (.pth)")
    add("--images", type=Path, metavar="DIR", help="a folder of images or of classes")
    inputs.add_untrained(group)
    add("--limit", type=positive, default=limit, metavar="N", help="use the first N images only")
    add("--threads", type=positive, help="PyTorch's threads, of each process")


def open_inputs(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    name: str = "resnet34",
    *,
    quiet: bool = False,
) -> tuple[LoadedModel, ImageSet]:
    """The network and the images, which are printed unless ``quiet``; the program ends with an
    error where there are none. Sets PyTorch's threads."""
    try:
        network, images = inputs.find_inputs(
            name, options.weights, options.images, untrained=options.untrained
        )
        images = images.first(options.limit).readable()
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if not quiet:
        print(f"weights: {network.weights}\nimages: {images}")
        if network.warning:
            print(f"\n*** {network.warning} ***\n", file=sys.stderr)
    return network, images
