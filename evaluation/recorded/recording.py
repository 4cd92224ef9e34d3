"""The recorded maps: how they are made, and the file of them."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import torch_ebpc
from torch_ebpc.cli.images import ImageFile, ImageSet, PreparedImages
from torch_ebpc.cli.networks import import_torchvision, load_torchvision

FILE = Path(__file__).with_name("resnet34.pt")
PHOTOGRAPH = "rocket.jpg"


def photographs(*names: str) -> list[ImageFile]:
    """Of those that scikit-image's package carries.

    Raises:
        FileNotFoundError: it does not carry one of them.
    """
    import skimage

    paths = [Path(skimage.__file__).parent / "data" / name for name in names]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(
                f"scikit-image {version('scikit-image')} carries no {path.name}"
            )
    return [ImageFile(path, path.name) for path in paths]


def record(weights: Path) -> dict[str, Any]:
    """What the file has in it: the maps, and where they come from.

    They are computed in float64 and then rounded to bfloat16: CPUs and builds of PyTorch differ in
    the last bits of a convolution, and rounding away 45 of them leaves the same maps everywhere.

    Args:
        weights: a state dict of ResNet-34.

    Returns:
        ``maps``: bfloat16 [1, channels, height, width] by the call's name, in the network's order,
        and ``provenance``: text by name.
    """
    import PIL

    network = load_torchvision("resnet34", weights)
    photograph = ImageSet("", photographs(PHOTOGRAPH))
    image, _ = PreparedImages(photograph, network.transform)[0]
    maps: dict[str, Tensor] = {}

    def keep(tap: torch_ebpc.Tap, x: Tensor) -> None:
        maps[tap.name] = x.bfloat16()

    model = network.model.double()
    with torch.inference_mode(), torch_ebpc.Taps(model, keep):
        model(image.double().unsqueeze(0))
    provenance = {
        "network": "ResNet-34 in evaluation mode",
        "weights": f"{weights.name}, a stand-in, not TorchVision's",
        "weights_sha256": network.weights_sha256,
        "photograph": f"{PHOTOGRAPH} of scikit-image: SpaceX, released into the public domain",
        "photograph_sha256": hashlib.sha256(photograph.files[0].path.read_bytes()).hexdigest(),
        "arithmetic": "float64, rounded to bfloat16",
        "torch": str(torch.__version__),
        "torchvision": str(import_torchvision().__version__),
        "pillow": PIL.__version__,
        "scikit-image": version("scikit-image"),
        "torch_ebpc": torch_ebpc.__version__,
    }
    return {"maps": maps, "provenance": provenance}


def write(content: dict[str, Any], path: Path = FILE) -> None:
    """Writes what :func:`record` gives, its tensors as containers, whole or not at all."""
    with torch_ebpc.files.whole_file(path) as file:
        torch.save(torch_ebpc.pack(content, codec="auto"), file)


def read(path: Path = FILE) -> dict[str, Any]:
    """What :func:`write` has written.

    Raises:
        OSError: there is no such file.
        EBPCError: it is damaged.
    """
    content: dict[str, Any] = torch_ebpc.unpack(torch.load(path, weights_only=True))
    return content
