"""Fixed-point feature maps of a network, image by image: what ReLU layers write and convolutions
read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn

import torch_ebpc

Callback = Callable[[torch_ebpc.Tap, Tensor], None]


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
    """Records the maps of images that run one by one through a model.

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

    def calibrate(self, image: Tensor) -> None:
        def note(key: str, x: Tensor) -> None:
            self._largest[key] = max(self._largest.get(key, 0.0), float(x.abs().max()))

        self._run(image, lambda tap, x: note(tap.layer, x), lambda tap, x: note(tap.name, x))

    def record(self, image: Tensor) -> ImageMaps:
        maps = ImageMaps()
        shapes: dict[str, tuple[int, int, int]] = {}  # of what convolutions read
        unwritten: list[int] = []  # convolutions since the last ReLU call

        def read(tap: torch_ebpc.Tap, x: Tensor) -> None:
            maps.read[tap.layer], maps.zero_words[tap.layer] = self._words(tap.layer, x)
            shapes[tap.layer] = _three(x)

        def given(tap: torch_ebpc.Tap, x: Tensor) -> None:
            module = self._model.get_submodule(tap.layer)
            if isinstance(module, nn.Conv2d):
                unwritten.append(len(maps.convolutions))
                maps.convolutions.append(
                    Convolution(
                        tap.layer,
                        shapes[tap.layer],
                        _three(x),
                        kernel=(module.kernel_size[0], module.kernel_size[1]),
                        stride=(module.stride[0], module.stride[1]),
                        groups=module.groups,
                        dilation=(module.dilation[0], module.dilation[1]),
                    )
                )
                return
            maps.written[tap.name], _ = self._words(tap.name, x)
            for first in unwritten[:1]:
                convolution = maps.convolutions[first]
                maps.convolutions[first] = dataclasses.replace(convolution, written_as=tap.name)
            unwritten.clear()

        self._run(image, read, given)
        return maps

    def _run(self, image: Tensor, read: Callback, given: Callback) -> None:
        """Gives what convolutions read, and what they and ReLU layers give."""
        with (
            torch.inference_mode(),
            torch_ebpc.Taps(self._model, read, [nn.Conv2d], of="inputs"),
            torch_ebpc.Taps(self._model, given, [nn.Conv2d, nn.ReLU]),
        ):
            self._model(image.unsqueeze(0))

    def _words(self, key: str, x: Tensor) -> tuple[Tensor, int]:
        """The map's words and the one that stands for 0."""
        quantizer, negative = self._quantizer, bool((x < 0).any())
        if negative and not quantizer.signed:  # the image itself; ReLU maps are never negative
            quantizer = dataclasses.replace(quantizer, signed=True)
        if negative or self._zero_point == 0:
            return quantizer.quantize(x[0], quantizer.scale_for(self._largest[key])), 0
        # From the zero point to the largest word.
        span = quantizer.largest_word - self._zero_point
        scale = self._largest[key] / (quantizer.headroom * span) or 1.0
        steps = x[0] / scale
        steps = steps.round() if quantizer.rounding == "nearest" else steps.trunc()
        return (steps.clamp(max=span) + self._zero_point).to(quantizer.dtype), self._zero_point


def zero_count(words: Tensor, zero_word: int = 0) -> int:
    """How many words are the zero word, also of dtypes that PyTorch hardly calculates with."""
    integer = {1: torch.int8, 2: torch.int16}[words.dtype.itemsize]
    zero = torch.tensor(zero_word).to(words.dtype).view(integer)
    return int((words.view(integer) == zero).sum())


def _three(x: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = x.shape
    return channels, height, width
