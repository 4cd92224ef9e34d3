"""The networks that are trained to see what that costs: TorchVision's ResNets, a U-Net, and a GPT
with dropout."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from evaluation.common.inputs import batch_of
from evaluation.common.networks import load_model
from torch_ebpc.cli.images import ImageSet, PreparedImages

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
BATCHES = {"resnet18": 8, "resnet34": 16, "unet": 8, "gpt": 4}  # examples of a step
TRAINED = ("resnet18", "resnet34")  # there are weights of them; the others begin with random ones
_UNET_PIXELS, _UNET_CLASSES = 128, 8
_GPT_TOKENS, _GPT_WORDS = 256, 256


@dataclasses.dataclass(frozen=True)
class Training:
    """A network in training, and what it is trained on."""

    model: nn.Module
    x: Tensor
    targets: Tensor
    stages: tuple[str, ...]  # whose parts are worth a checkpoint each

    def loss(self) -> Tensor:
        return nn.functional.cross_entropy(self.model(self.x).float(), self.targets)

    def checkpoint_parts(self) -> None:
        """Keeps only the inputs of the parts, and computes the rest of them again."""
        for name in self.stages:
            stage = self.model.get_submodule(name)
            for part, module in list(stage.named_children()):
                stage.register_module(part, _Checkpointed(module))


@dataclasses.dataclass(frozen=True)
class Source:
    """What all processes take: none looks for weights or images itself."""

    network: str
    weights: Path | None  # of TRAINED
    images: ImageSet

    def prepared(self, dtype: str) -> Training:
        training = _MAKERS[self.network](self)
        x = training.x.to(DTYPES[dtype]) if training.x.is_floating_point() else training.x
        return dataclasses.replace(training, model=training.model.train().to(DTYPES[dtype]), x=x)

    def batch(self) -> tuple[Tensor, Tensor]:
        """All images, as the ResNets take them, and their labels."""
        transform = load_model("resnet18", untrained=True).transform
        x, labels = batch_of(PreparedImages(self.images, transform))
        return x, labels.clamp(min=0)


def _resnet(source: Source) -> Training:
    model = load_model(source.network, source.weights).model
    return Training(model, *source.batch(), ("layer1", "layer2", "layer3", "layer4"))


def _unet(source: Source) -> Training:
    torch.manual_seed(0)
    x = nn.functional.interpolate(source.batch()[0], (_UNET_PIXELS, _UNET_PIXELS))
    levels = x.mean(1).sub(x.min()).div(x.max() - x.min())
    classes = (_UNET_CLASSES * levels).long().clamp(0, _UNET_CLASSES - 1)
    return Training(_UNet(3, 32, _UNET_CLASSES), x, classes, ("down", "up"))


def _gpt(source: Source) -> Training:
    torch.manual_seed(0)
    words = torch.randint(_GPT_WORDS, (len(source.images.files), _GPT_TOKENS + 1))
    return Training(_GPT(_GPT_WORDS, 256, 4), words[:, :-1], words[:, 1:], ("blocks",))


_MAKERS: dict[str, Callable[[Source], Training]] = {
    "resnet18": _resnet,
    "resnet34": _resnet,
    "unet": _unet,
    "gpt": _gpt,
}


class _Checkpointed(nn.Module):
    """A part of which only the inputs are kept."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, *inputs: Tensor) -> Tensor:
        y: Tensor = checkpoint(self.part, *inputs, use_reentrant=False)
        return y


def _two_convolutions(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class _Up(nn.Module):
    """Enlarges what comes from below, and takes what the way down has kept beside it."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(inputs, inputs // 2, 2, stride=2)
        self.convolutions = _two_convolutions(inputs, inputs // 2)

    def forward(self, x: Tensor, kept: Tensor) -> Tensor:
        y: Tensor = self.convolutions(torch.cat([kept, self.enlarge(x)], 1))
        return y


class _UNet(nn.Module):
    """Four levels: a class for each pixel."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        widths = [width << level for level in range(4)]
        pairs = zip([channels, *widths], widths, strict=False)
        self.down = nn.ModuleList(_two_convolutions(*pair) for pair in pairs)
        self.up = nn.ModuleList(_Up(each) for each in reversed(widths[1:]))
        self.scores = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for level, convolutions in enumerate(self.down):
            x = convolutions(x if level == 0 else nn.functional.max_pool2d(x, 2))
            kept.append(x)
        for up, each in zip(self.up, reversed(kept[:-1]), strict=True):
            x = up(x, each)
        y: Tensor = self.scores(x)
        return y


class _GPT(nn.Module):
    """A transformer that says the next word, with dropout: scores [batch, words, tokens]."""

    def __init__(self, words: int, width: int, blocks: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.places = nn.Embedding(_GPT_TOKENS, width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, 8, 4 * width, 0.1, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(blocks)
        )
        self.scores = nn.Linear(width, words)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.words(x) + self.places.weight[: x.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=y.dtype)
        for block in self.blocks:
            y = block(y, mask)
        scores: Tensor = self.scores(y).mT
        return scores
