"""A network that replays the recorded maps, so that all that is measured at ReLUs is of real data.

Its modules have the names and shapes of TorchVision's ResNet-34. Every ReLU gets a recorded map as
its input, and so gives that map, and what follows a ReLU gets that map as well: the inputs of all
convolutions are real (the first one's is the image). What convolutions give is not: their weights
are random. They run all the same, so that a forward pass takes as long as one of ResNet-34.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from evaluation.recorded import recording
from torch_ebpc.cli.images import ImageSet
from torch_ebpc.cli.networks import LoadedModel, import_torchvision, prepared_as

_resnet = import_torchvision().models.resnet


def _like(recorded: Tensor, x: Tensor) -> Tensor:
    """The recorded map, for every image of a batch, in the place of ``x``."""
    return recorded.to(x.dtype).expand_as(x)


class _Block(_resnet.BasicBlock):  # type: ignore[misc, name-defined]
    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(_like(self.first, self.bn1(self.conv1(x))))
        y = self.bn2(self.conv2(y))
        if self.downsample is not None:
            self.downsample(x)
        # No addition: its sum would not be the network's.
        z: Tensor = self.relu(_like(self.second, y))
        return z


class Replay(_resnet.ResNet):  # type: ignore[misc, name-defined]
    """ResNet-34 whose ReLUs give recorded maps. Images must have 3 x 224 x 224 pixels; its output
    is the last map's mean [images, 512], for there is no classifier.

    Args:
        recorded: by the call's name, for example ``layer1.0.relu#2``.
    """

    def __init__(self, recorded: dict[str, Tensor]) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            super().__init__(_Block, [3, 4, 6, 3])
        self.fc = nn.Identity()
        # In place they would write into the recorded maps.
        for module in self.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False
        self.register_buffer("first", recorded["relu#1"])
        for name, module in self.named_modules():
            if isinstance(module, _Block):
                module.register_buffer("first", recorded[f"{name}.relu#1"])
                module.register_buffer("second", recorded[f"{name}.relu#2"])
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(_like(self.first, self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.maxpool(x)))))
        return torch.flatten(self.avgpool(x), 1)


class RecordedModel(LoadedModel):
    @property
    def warning(self) -> str:
        return "RECORDED MAPS of one photograph: these are not the paper's numbers"


def load() -> tuple[RecordedModel, ImageSet]:
    """The network, and the photograph that its maps are of.

    Raises:
        OSError: the maps or the photograph are not there.
    """
    content = recording.read()
    source = content["provenance"]
    network = RecordedModel(
        "resnet34",
        Replay(content["maps"]),
        prepared_as("resnet34"),
        f"none; recorded maps of {source['weights']}",
        hashlib.sha256(recording.FILE.read_bytes()).hexdigest(),
        trained=True,
    )
    return network, ImageSet(source["photograph"], recording.photographs(recording.PHOTOGRAPH))
