"""Where networks and images come from."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from evaluation.common.networks import NoWeightsError, data_folder, load_model
from evaluation.recorded import network as recorded
from evaluation.recorded.recording import photographs
from torch_ebpc.cli.images import ImageSet, PreparedImages, files_in, images_in
from torch_ebpc.cli.networks import LoadedModel

_PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")


def add_untrained(parser: argparse._ActionsContainer) -> None:
    """The option that asks for a network without weights by name."""
    parser.add_argument(
        "--untrained", action="store_true", help="random weights, batch statistics: a mere trial"
    )


def find_inputs(
    name: str = "resnet34",
    weights: Path | None = None,
    folder: Path | None = None,
    *,
    untrained: bool = False,
) -> tuple[LoadedModel, ImageSet]:
    """A network as of :func:`load_model` and images as of :func:`find_images`. Of ResNet-34 without
    weights: the network that replays its recorded maps, and the photograph that they are of.

    Raises:
        NoWeightsError: there are no weights, and recorded maps do not serve.
        ValueError, OSError, RuntimeError: as :func:`load_model` and :func:`find_images`.
    """
    try:
        return load_model(name, weights, untrained=untrained), find_images(folder)
    except NoWeightsError:
        if folder is not None or name != "resnet34":
            raise
        print(
            f"no weights of {name}: its recorded maps take their place"
            " (your own: --weights FILE --images DIR)",
            file=sys.stderr,
        )
        return recorded.load()


def batch_of(
    prepared: PreparedImages, indices: Iterable[int] | None = None
) -> tuple[Tensor, Tensor]:
    """These images (all by default) in one tensor, and their labels."""
    chosen = range(len(prepared)) if indices is None else indices
    images, labels = zip(*(prepared[i] for i in chosen), strict=True)
    return torch.stack(images), torch.tensor(labels)


def spread(images: ImageSet, count: int) -> ImageSet:
    """So many of the images, or all, spread evenly over the set."""
    step = max(1, len(images.files) // count)
    return dataclasses.replace(images, files=images.files[::step][:count])


def find_images(folder: Path | None = None) -> ImageSet:
    """The images of ``folder``; without one, of the data folder's ``images``, else scikit-image's.

    Raises:
        FileNotFoundError: ``folder`` does not exist or has no image in it, or scikit-image does not
            carry its photographs.
    """
    if folder is not None:
        return images_in(folder)
    default = data_folder() / "images"
    if default.is_dir():
        return ImageSet("the data folder's images", files_in(default))
    return ImageSet("photographs of scikit-image", photographs(*_PHOTOGRAPHS))
