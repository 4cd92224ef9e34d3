"""TorchVision's networks and where their weights come from."""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from torch_ebpc.cli.networks import LoadedModel, import_torchvision, load_torchvision

SHARED = Path(__file__).resolve().parents[3] / "shared"
DOWNLOAD_SECONDS = 10.0  # without a byte, after which a download has failed


def data_folder() -> Path:
    """Where images and weights are: $TORCH_EBPC_DATA, or `shared` beside the checkout."""
    return Path(os.environ.get("TORCH_EBPC_DATA") or SHARED)


def _preprocessing(
    resize: int, crop: int, mean: tuple[float, ...], std: tuple[float, ...], *, bgr: bool = False
) -> Callable[[Any], torch.Tensor]:
    """How a PIL image becomes a network's input: resized (its shorter side, bilinear), cropped
    around the centre, and ``(value - mean) / std`` by channel, in its order, of values from 0 to
    255."""
    make = import_torchvision().transforms
    steps = [make.Resize(resize), make.CenterCrop(crop), make.PILToTensor()]
    steps.append(lambda x: x.flip(0).float() if bgr else x.float())
    transform: Callable[[Any], torch.Tensor] = make.Compose([*steps, make.Normalize(mean, std)])
    return transform


# The stand-ins that do not descend from TorchVision's weights, by their name in the data folder.
STAND_IN_PREPROCESSING = {
    # The authors' Caffe weights.
    "squeezenet1_1": _preprocessing(256, 227, (104.0, 117.0, 123.0), (1.0, 1.0, 1.0), bgr=True),
    # Google's quantised model: x / 127.5 - 1.
    "mobilenet_v2": _preprocessing(256, 224, 3 * (127.5,), 3 * (127.5,)),
}


class NoWeightsError(FileNotFoundError):
    """There are no weights of a network."""


def load_model(
    name: str, weights_file: Path | None = None, *, untrained: bool = False
) -> LoadedModel:
    """A TorchVision classification network by name, in evaluation mode.

    Its weights are the first of: ``weights_file``; TorchVision's own (from its cache, or
    downloaded; that this fails is printed); ``NAME.pth`` in the data folder's ``weights``. Or it is
    ``untrained``, and normalizes by batch statistics.

    Raises:
        ValueError: TorchVision has no such network, or it is to be untrained and have weights.
        NoWeightsError: there are none.
        OSError, RuntimeError: ``weights_file`` cannot be read or does not fit the network.
    """
    if untrained and weights_file is not None:
        raise ValueError(f"an untrained network has no weights, got {weights_file}")
    if untrained or weights_file is not None:
        return load_torchvision(name, weights_file, untrained=untrained)
    network = _load_official(name)
    if network is not None:
        return network
    stand_in = data_folder() / "weights" / f"{name}.pth"
    if not stand_in.exists():
        raise NoWeightsError(
            f"no weights of {name}: neither TorchVision's nor {stand_in} is there;"
            " give --weights FILE, or --untrained"
        )
    network = load_torchvision(name, stand_in)
    return dataclasses.replace(
        network,
        weights=f"stand-in {stand_in.name} from the data folder (not TorchVision's weights)",
        transform=STAND_IN_PREPROCESSING.get(name, network.transform),
    )


def _load_official(name: str) -> LoadedModel | None:
    """With TorchVision's own weights; None where they are neither cached nor downloaded."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_SECONDS)
    try:
        return load_torchvision(name)
    except (OSError, RuntimeError) as error:  # RuntimeError: something else came, by its hash
        print(f"TorchVision's {name} cannot be downloaded: {error}", file=sys.stderr)
        return None
    finally:
        socket.setdefaulttimeout(before)
