"""Fixed-point feature maps of a network, image by image: what ReLU layers write and convolutions
read."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

import torch_ebpc


@dataclasses.dataclass(frozen=True)
class Convolution:
    """One convolution of the network, as accelerator tools describe it.

    Attributes:
        name: of the module.
        input_shape, output_shape: channels, height, width; of one image, without padding.
        kernel, stride, dilation: height, width.
        groups: of the channels.
        written_as: the ReLU call whose output is written to memory in place of this convolution's
            own: the next one. Of several convolutions between two ReLU calls it is the first one's
            (in a residual block the main path's; a projection shortcut has none).
    """

    name: str
    input_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    groups: int
    written_as: str | None = None
    dilation: tuple[int, int] = (1, 1)


@dataclasses.dataclass
class ImageMaps:
    """One image's maps: fixed-point words [channels, height, width]."""

    written: dict[str, Tensor] = dataclasses.field(default_factory=dict)  # by ReLU call
    read: dict[str, Tensor] = dataclasses.field(default_factory=dict)  # by convolution
    convolutions: list[Convolution] = dataclasses.field(default_factory=list)
    # The word that stands for 0, by convolution: the zero point, or 0 where values are negative.
    zero_words: dict[str, int] = dataclasses.field(default_factory=dict)


class MapRecorder:
    """Records the maps of images that run one by one through a model, while it is entered.

    Scales are calibrated: the largest magnitude of a map over all images seen in
    :meth:`calibrate`, as in the papers' evaluation. With a zero point, maps without negative values
    have it as the word that stands for 0, and all words from there on.
    """

    def __init__(
        self, model: nn.Module, quantizer: torch_ebpc.Quantizer, zero_point: int = 0
    ) -> None:
        self._zero_point = zero_point
        self._model = model
        self._quantizer = quantizer
        self._largest: dict[str, float] = {}
        self._maps: ImageMaps | None = None  # None while calibrating
        self._calls: dict[str, int] = {}
        self._unwritten: list[int] = []  # convolutions since the last ReLU call

    @contextlib.contextmanager
    def entered(self) -> Iterator[MapRecorder]:
        handles = []
        for name, module in self._model.named_modules():
            if isinstance(module, nn.ReLU):
                handles.append(module.register_forward_hook(self._relu_hook(name)))
            elif isinstance(module, nn.Conv2d):
                handles.append(module.register_forward_hook(self._convolution_hook(name)))
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def calibrate(self, image: Tensor) -> None:
        self._run(image, None)

    def record(self, image: Tensor) -> ImageMaps:
        maps = ImageMaps()
        self._run(image, maps)
        return maps

    def _run(self, image: Tensor, maps: ImageMaps | None) -> None:
        self._maps = maps
        self._calls.clear()
        self._unwritten.clear()
        with torch.inference_mode():
            self._model(image.unsqueeze(0))

    def _words(self, key: str, x: Tensor) -> tuple[Tensor, int] | None:
        """The map's words and the one that stands for 0; None while calibrating."""
        low, high = (bound.item() for bound in torch.aminmax(x))
        if self._maps is None:
            self._largest[key] = max(self._largest.get(key, 0.0), abs(low), abs(high))
            return None
        quantizer = self._quantizer
        if low < 0 and not quantizer.signed:  # the image itself; ReLU maps are never negative
            quantizer = dataclasses.replace(quantizer, signed=True)
        scale = quantizer.scale_for(self._largest[key])
        if low < 0 or self._zero_point == 0:
            return quantizer.quantize(x[0], scale), 0
        # From the zero point to the largest word.
        span = quantizer.largest_word - self._zero_point
        scale = self._largest[key] / (quantizer.headroom * span) or 1.0
        steps = (
            (x[0] / scale).round() if quantizer.rounding == "nearest" else (x[0] / scale).trunc()
        )
        return (steps.clamp(max=span) + self._zero_point).to(quantizer.dtype), self._zero_point

    def _relu_hook(self, layer: str) -> Any:
        def hook(module: nn.ReLU, inputs: tuple[Tensor], output: Tensor) -> None:
            call = self._calls[layer] = self._calls.get(layer, 0) + 1
            name = f"{layer}#{call}"
            found = self._words(f"relu {name}", output)
            if self._maps is None or found is None:
                return
            self._maps.written[name], _ = found
            if self._unwritten:
                first = self._unwritten[0]
                self._maps.convolutions[first] = dataclasses.replace(
                    self._maps.convolutions[first], written_as=name
                )
            self._unwritten.clear()

        return hook

    def _convolution_hook(self, name: str) -> Any:
        def hook(module: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
            found = self._words(f"convolution {name}", inputs[0])
            if self._maps is None or found is None:
                return
            self._maps.read[name], self._maps.zero_words[name] = found
            self._unwritten.append(len(self._maps.convolutions))
            self._maps.convolutions.append(
                Convolution(
                    name,
                    _three(inputs[0]),
                    _three(output),
                    (module.kernel_size[0], module.kernel_size[1]),
                    (module.stride[0], module.stride[1]),
                    module.groups,
                    dilation=(module.dilation[0], module.dilation[1]),
                )
            )

        return hook


def zero_count(words: Tensor, zero_word: int = 0) -> int:
    """How many words are the zero word, also of dtypes that PyTorch hardly calculates with."""
    integer = {1: torch.int8, 2: torch.int16}[words.dtype.itemsize]
    zero = torch.tensor(zero_word).to(words.dtype).view(integer)
    return int((words.view(integer) == zero).sum())


def _three(x: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = x.shape
    return channels, height, width
