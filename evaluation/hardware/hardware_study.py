"""One study: a network's maps through the model and over the memory interface, layer by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor
from tqdm import tqdm

import torch_ebpc
from evaluation.hardware import cycles, schedule, traffic, wide
from evaluation.hardware.cycles import Design, LayerCycles, WidthRow
from evaluation.hardware.layer_maps import Convolution, ImageMaps, MapRecorder, zero_count
from evaluation.hardware.traffic import Interface, Traffic
from torch_ebpc.cli.images import ImageSet, PreparedImages
from torch_ebpc.cli.networks import LoadedModel
from torch_ebpc.hardware import EncoderRun

SWEPT_BUFFERS = (256, 1024, 4096, 16384, 65536)
SWEPT_BURSTS = (16, 32, 64, 128)


@dataclasses.dataclass(frozen=True)
class Options:
    """Attributes:
    quantizer: how maps become words of W bits.
    design: W, N and R, and the memory port for the runs with back-pressure.
    interface: buffer, bursts and address table.
    clock_hz: of the encoder and the decoder.
    memory: key of :data:`evaluation.hardware.energy.MEMORIES`.
    """

    quantizer: torch_ebpc.Quantizer
    design: Design
    interface: Interface
    clock_hz: float
    memory: str

    def code(self) -> tuple[int, int, int]:
        return self.design.word_bits, self.design.block_size, self.design.max_zero_run

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclasses.dataclass
class Layer:
    """One ReLU call, summed over images.

    Attributes:
        cycles: through the cycle-true model.
        traffic: of its map over the memory interface.
        scheduled_cycles: of the encoder by the recurrence of :mod:`evaluation.hardware.schedule`,
            to see how good it is.
        published_cycles: by the same recurrence with the published coder's schedule.
    """

    name: str
    cycles: LayerCycles
    traffic: Traffic = dataclasses.field(default_factory=Traffic)
    scheduled_cycles: int = 0
    published_cycles: int = 0

    @property
    def published_words_per_cycle(self) -> float:
        return self.cycles.words / self.published_cycles

    def add(self, other: Layer) -> None:
        self.cycles.add(other.cycles)
        self.traffic.add(other.traffic)
        self.scheduled_cycles += other.scheduled_cycles
        self.published_cycles += other.published_cycles

    def as_dict(self, options: Options) -> dict[str, Any]:
        return self.cycles.as_dict() | {
            "scheduled_encoder_cycles": self.scheduled_cycles,
            "published_encoder_cycles": self.published_cycles,
            "published_encoder_words_per_cycle": self.published_words_per_cycle,
            **self.traffic.as_dict(options.interface),
        }


@dataclasses.dataclass
class ConvolutionInput:
    """What one convolution reads, summed over images."""

    convolution: Convolution
    traffic: Traffic = dataclasses.field(default_factory=Traffic)
    words: int = 0
    zeros: int = 0

    @property
    def density(self) -> float:
        """Share of words that are not zero."""
        return 1 - self.zeros / self.words


@dataclasses.dataclass
class Study:
    """Attributes:
    layers: by name of the ReLU call, in the order of the network.
    convolutions: in the order of the network.
    widths: the first image behind memory ports of several widths.
    tiles: the first image's traffic by buffer and burst bytes.
    lanes: the first image through encoders of several words a cycle.
    chunks: the first image in chunks of several sizes.
    raw_blocks: the first image with a raw fallback for every block.
    """

    options: Options
    layers: dict[str, Layer] = dataclasses.field(default_factory=dict)
    convolutions: dict[str, ConvolutionInput] = dataclasses.field(default_factory=dict)
    widths: list[WidthRow] = dataclasses.field(default_factory=list)
    tiles: dict[tuple[int, int], Traffic] = dataclasses.field(default_factory=dict)
    lanes: list[wide.LanesRow] = dataclasses.field(default_factory=list)
    chunks: list[wide.ChunksRow] = dataclasses.field(default_factory=list)
    raw_blocks: wide.ChunksRow | None = None
    images: int = 0

    def total(self) -> Layer:
        total = Layer("total", cycles.total_of(layer.cycles for layer in self.layers.values()))
        for layer in self.layers.values():
            total.traffic.add(layer.traffic)
            total.scheduled_cycles += layer.scheduled_cycles
            total.published_cycles += layer.published_cycles
        return total

    def add_image(
        self, maps: ImageMaps, on_run: Callable[[str, Tensor, EncoderRun], None] | None = None
    ) -> None:
        """Measures one image's maps; ``on_run`` is given each layer's name, words and streams."""
        code = self.options.code()
        word_bits, block_size, _ = code
        zero = self.options.design.zero_word
        for name, words in maps.written.items():
            layer = self.layers.setdefault(name, Layer(name, LayerCycles(name)))
            run = cycles.measure(layer.cycles, words, self.options.design)
            if on_run is not None:
                on_run(name, words, run)
            layer.traffic.add(traffic.measure(words, self.options.interface, *code, zero))
            blocks = schedule.blocks_of(words, word_bits, block_size, zero)
            layer.scheduled_cycles += schedule.cycles(blocks, schedule.cycles_per_symbol(blocks))
            layer.published_cycles += schedule.cycles(
                blocks, schedule.cycles_per_plane(blocks, word_bits)
            )
        for convolution in maps.convolutions:
            words = maps.read[convolution.name]
            row = self.convolutions.setdefault(convolution.name, ConvolutionInput(convolution))
            row.words += words.numel()
            zero = maps.zero_words[convolution.name]
            row.zeros += zero_count(words, zero)
            row.traffic.add(traffic.measure(words, self.options.interface, *code, zero))
        self.images += 1

    def sweep(self, maps: ImageMaps) -> None:
        """The first image at other memory widths, buffers, bursts, lanes and chunks."""
        words = list(maps.written.values())
        code = self.options.code()
        zero = self.options.design.zero_word
        w = self.options.design.word_bits
        widths = sorted({max(1, w // 8), max(1, w // 4), max(1, w // 2), w, 2 * w, 8 * w})
        self.widths = cycles.sweep_widths(words, self.options.design, widths)
        self.tiles = traffic.sweep(
            words, self.options.interface, code, SWEPT_BUFFERS, SWEPT_BURSTS, zero
        )
        self.lanes = wide.sweep_lanes(words, code, self.options.interface.buffer_bytes, zero)
        self.chunks = wide.sweep_chunks(words, code, zero)
        self.raw_blocks = wide.raw_blocks(words, code, zero)


def run(
    network: LoadedModel,
    images: ImageSet,
    options: Options,
    on_run: Callable[[str, Tensor, EncoderRun], None] | None = None,
) -> Study:
    """Calibrates on all images, then measures each; ``on_run`` sees the first image's runs."""
    prepared = PreparedImages(images, network.transform)

    def each(what: str) -> Iterator[Tensor]:
        for i in tqdm(range(len(prepared)), desc=what, unit="image"):
            yield prepared[i][0]

    study = Study(options)
    with MapRecorder(
        network.model, options.quantizer, options.design.zero_word
    ).entered() as recorder:
        for image in each("calibrating"):
            recorder.calibrate(image)
        for image in each("measuring"):
            maps = recorder.record(image)
            study.add_image(maps, on_run if study.images == 0 else None)
            if study.images == 1:
                study.sweep(maps)
    return study
