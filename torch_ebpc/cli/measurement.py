"""One measurement: a network, images, a meter, and its report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

import torch_ebpc
from torch_ebpc._selection import operation_of
from torch_ebpc.cli.images import UNKNOWN, ImageSet, PreparedImages
from torch_ebpc.cli.inputs import Inputs
from torch_ebpc.cli.networks import LoadedModel
from torch_ebpc.cli.settings import Settings


@dataclasses.dataclass
class Accuracy:
    """Top-1, of the images whose class is known."""

    right: int = 0
    known: int = 0

    def add(self, output: Any, labels: torch.Tensor) -> None:
        known = labels != UNKNOWN
        if not known.any() or not isinstance(output, torch.Tensor) or output.dim() != 2:
            return  # a network of another kind than a classifier
        self.right += int((output.argmax(1) == labels)[known].sum())
        self.known += int(known.sum())

    def __str__(self) -> str:
        if self.known == 0:
            return "unknown (no labels)"
        return f"{100 * self.right / self.known:.1f} % ({self.right} of {self.known})"


@dataclasses.dataclass(frozen=True)
class Measurement:
    report: torch_ebpc.Report
    top1: Accuracy  # with what the meter did to the maps
    plain_top1: Accuracy | None  # of the calibration pass, where there was one


Call = tuple[tuple[Any, ...], dict[str, Any], torch.Tensor]  # arguments, by name, labels


def _calls(
    network: LoadedModel, inputs: ImageSet | Inputs, batch_size: int, what: str
) -> Iterator[Call]:
    """All that the network is to be called with."""
    if isinstance(inputs, Inputs):
        yield inputs.arguments, inputs.keywords, torch.tensor([UNKNOWN])
        return
    loader = DataLoader(PreparedImages(inputs, network.transform), batch_size)
    with tqdm(total=len(inputs.files), desc=what, unit="image", disable=None) as progress:
        for batch, labels in loader:
            yield (batch,), {}, labels
            progress.update(len(batch))


def measure(network: LoadedModel, inputs: ImageSet | Inputs, settings: Settings) -> Measurement:
    """Runs all images through the network, or calls it once with the arguments of a file, and once
    more beforehand where scales are calibrated, with a meter on every ReLU or on what the settings
    name.

    Raises:
        ValueError: the settings name something that is not there, or does not fit the network.
        TypeError: what they name has no feature map that can be measured.
    """

    def run(what: str) -> Accuracy:
        top1 = Accuracy()
        for arguments, keywords, labels in _calls(network, inputs, settings.batch_size, what):
            top1.add(network.model(*arguments, **keywords), labels)
        return top1

    plain_top1 = None
    words = settings.words()
    layers, functions = selection(network, settings)
    with (
        torch.inference_mode(),
        torch_ebpc.CompressionMeter(
            network.model,
            layers,
            functions=functions,
            of=settings.of,
            quantizer=words,
            mode=settings.mode,
            methods=settings.methods,
            block_size=settings.block_size,
            max_zero_run=settings.max_zero_run,
            base=settings.base,
            verify=settings.verify,
            zero=settings.zero,
            order=settings.order,
        ) as meter,
    ):
        if isinstance(words, torch_ebpc.Quantizer) and words.scale == "calibrated":
            with meter.calibrate():
                plain_top1 = run("calibrating")
        top1 = run("measuring")
        report = meter.report()

    kind = "inputs" if isinstance(inputs, Inputs) else "images"
    report.title = "; ".join(filter(None, (network.warning, network.name)))
    report.provenance |= {
        "network": network.name,
        "weights": network.weights,
        "weights_sha256": network.weights_sha256,
        kind: str(inputs),
        f"{kind}_sha256": inputs.sha256(),
        "settings": dataclasses.asdict(settings),
        "top1": str(top1),
        "top1_without_compression": None if plain_top1 is None else str(plain_top1),
    }
    return Measurement(report, top1, plain_top1)


def fitted(network: LoadedModel, images: ImageSet, settings: Settings) -> tuple[ImageSet, Settings]:
    """Images and settings with batches of a size that the network takes; without the images that
    are too few for one more.

    Raises:
        ValueError: there are too few for a single batch, or they are prepared in another size.
    """
    if not network.input_sizes:
        return images, settings
    least, most = network.input_sizes[0]
    batch_size = int(min(max(settings.batch_size, least), most))
    over = len(images.files) % batch_size
    count = len(images.files) - (over if over < least else 0)
    if count == 0:
        raise ValueError(
            f"{network.name} takes batches of {least} images or more, got {len(images.files)}"
        )
    image, _ = PreparedImages(images, network.transform)[0]
    wanted = network.input_sizes[1:]
    if len(wanted) != image.dim() or not all(
        low <= size <= high for size, (low, high) in zip(image.shape, wanted, strict=True)
    ):
        sizes = "x".join(f"{low}" if low == high else f"{low}..{high}" for low, high in wanted)
        raise ValueError(
            f"{network.name} takes images of {sizes}, got {'x'.join(map(str, image.shape))}:"
            " --prepare-as says as for which network they are prepared"
        )
    kept = dataclasses.replace(
        images, files=images.files[:count], no_batch=len(images.files) - count
    )
    return kept, dataclasses.replace(settings, batch_size=batch_size)


def selection(
    network: LoadedModel, settings: Settings
) -> tuple[list[type[nn.Module] | str], list[Callable[..., Any]]]:
    """Layers and functions, as :class:`torch_ebpc.CompressionMeter` takes them.

    Raises:
        ValueError: PyTorch has no such function.
    """
    layers, functions = settings.layers, settings.functions
    if layers is None and functions is None:
        layers, functions = ((), ("relu",)) if network.is_graph else (("ReLU",), ())
    modules = dict(network.model.named_modules())
    return (
        [name if name in modules else _layer(name) for name in layers or ()],
        [_function(name) for name in functions or ()],
    )


def unmeasured_activations(network: LoadedModel, settings: Settings) -> list[str]:
    """The classes of the network's activations that are not measured because the settings name
    nothing, so that ReLU is."""
    if settings.layers is not None or settings.functions is not None or network.is_graph:
        return []
    names = {type(module).__name__ for module in network.model.modules()
             if type(module).__module__ == nn.modules.activation.__name__}  # fmt: skip
    return sorted(names - {"ReLU", "MultiheadAttention"})


def _layer(name: str) -> type[nn.Module] | str:
    """Raises:
    ValueError: there is only a class of another spelling.
    """
    found = getattr(nn, name, None)
    if isinstance(found, type) and issubclass(found, nn.Module):
        return found
    for spelling, each in vars(nn).items():
        if spelling.lower() == name.lower() and isinstance(each, type):
            raise ValueError(f"layers: there is no {name!r}; the class is {spelling}")
    return name


def _function(name: str) -> Callable[..., Any]:
    for module in (torch, nn.functional, torch.ops.aten):
        found: Callable[..., Any] | None = getattr(module, name, None)
        if callable(found) and operation_of(found) is not None:
            return found
    raise ValueError(
        "functions must be of torch or torch.nn.functional, such as relu, add, gelu, or operators"
        f" of torch.ops.aten, got {name!r}"
    )
