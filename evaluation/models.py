"""TorchVision's networks and where their weights come from."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import nn

SHARED = Path(__file__).resolve().parents[2] / "shared"


def data_folder() -> Path:
    """Where images and weights are: $TORCH_EBPC_DATA, or `shared` beside the checkout."""
    return Path(os.environ.get("TORCH_EBPC_DATA", SHARED))


def import_torchvision() -> ModuleType:
    """TorchVision, also where its compiled operators do not load.

    TorchVision's wheel is built for one build of PyTorch. Beside another (a CPU build) its library
    does not load, and importing it then fails because fake kernels are registered for operators
    that do not exist. Models, weights and transforms need none of them, so their schemas are
    enough.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        # The first attempt has left the module half imported.
        import sys

        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        torch.library.define(
            "torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
        torch.library.define(
            "torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
        import torchvision
    return torchvision


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How a PIL image becomes a network's input: resized (its shorter side, bilinear), cropped
    around the centre, and ``(value - mean) / std`` by channel of values from 0 to 255."""

    resize: int
    crop: int
    channels: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]  # in the order of `channels`
    std: tuple[float, float, float]

    def __call__(self, image: Any) -> torch.Tensor:
        functional = import_torchvision().transforms.functional
        image = functional.resize(image, [self.resize])
        x = functional.pil_to_tensor(functional.center_crop(image, [self.crop])).float()
        if self.channels == "bgr":
            x = x.flip(0)
        return (x - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]


# The stand-ins that do not descend from TorchVision's weights, by their name in the data folder.
STAND_IN_PREPROCESSING = {
    # The authors' Caffe weights.
    "squeezenet1_1": Preprocessing(256, 227, "bgr", (104.0, 117.0, 123.0), (1.0, 1.0, 1.0)),
    # Google's quantised model: x / 127.5 - 1.
    "mobilenet_v2": Preprocessing(256, 224, "rgb", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
}


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A network ready to be measured, and what a report has to say about it."""

    name: str
    model: nn.Module
    transform: Callable[[Any], torch.Tensor]  # PIL image to float32 [3, height, width]
    weights: str  # where they come from, in words
    weights_sha256: str  # of their file; empty where there is none
    trained: bool
    batch_statistics: bool = False  # whether it normalizes by those of each batch

    @property
    def warning(self) -> str:
        """What every table and plot has to say in its title; empty if there is nothing."""
        return "" if self.trained else "UNTRAINED NETWORK: these are not the paper's numbers"


def load_model(name: str, weights_file: Path | None = None) -> LoadedModel:
    """A TorchVision classification network by name, in evaluation mode.

    Its weights are the first of: ``weights_file``; TorchVision's own (from its cache, or
    downloaded); ``NAME.pth`` in the data folder's ``weights``; none, in which case the network is
    untrained and normalizes by batch statistics.

    Raises:
        ValueError: TorchVision has no such network.
        OSError, RuntimeError: ``weights_file`` cannot be read or does not fit the network.
    """
    models = import_torchvision().models
    if name not in models.list_models(module=models):
        raise ValueError(
            f"model must be a TorchVision classification network, got {name!r};"
            " see torchvision.models.list_models()"
        )
    enum = models.get_model_weights(name)
    official = getattr(enum, "IMAGENET1K_V1", enum.DEFAULT)
    transform = official.transforms()
    model = models.get_model(name)

    if weights_file is not None:
        model.load_state_dict(_read_state(weights_file))
        return _loaded(name, model, transform, f"file {weights_file.name}", weights_file)
    try:
        state = official.get_state_dict(progress=False, check_hash=True)
        cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(official.url).name
        model.load_state_dict(state)
        return _loaded(name, model, transform, f"TorchVision {official}", cached)
    except OSError:  # no cached file and no way to download it
        pass
    stand_in = data_folder() / "weights" / f"{name}.pth"
    if stand_in.exists():
        model.load_state_dict(_read_state(stand_in))
        origin = f"stand-in {stand_in.name} from the data folder (not TorchVision's weights)"
        transform = STAND_IN_PREPROCESSING.get(name, transform)
        return _loaded(name, model, transform, origin, stand_in)

    torch.manual_seed(0)
    model = models.get_model(name)
    untrained = LoadedModel(name, model.eval(), transform, "none (seed 0)", "", trained=False)
    return with_batch_statistics(untrained)


def with_batch_statistics(network: LoadedModel) -> LoadedModel:
    """Makes the network normalize by the statistics of each batch, as in training, and otherwise
    work as in evaluation. Returned unchanged where that cannot be: it normalizes nothing, or its
    batch normalization was folded into the convolutions and its statistics are placeholders."""
    layers = [m for m in network.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    folded = network.trained and all(
        m.running_mean is not None
        and m.running_var is not None
        and bool((m.running_mean == 0).all() and (m.running_var == 1).all())
        for m in layers
    )
    if not layers or folded:
        return network
    for module in layers:
        module.train()
    return dataclasses.replace(network, batch_statistics=True)


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return {key: x.float() if x.is_floating_point() else x for key, x in state.items()}


def _loaded(
    name: str, model: nn.Module, transform: Callable[[Any], torch.Tensor], origin: str, file: Path
) -> LoadedModel:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return LoadedModel(name, model.eval(), transform, origin, digest, trained=True)
