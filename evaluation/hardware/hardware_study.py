"""One study: a network's maps through the model and over the memory interface, layer by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pandas as pd
from torch import Tensor
from tqdm import tqdm

import torch_ebpc
from evaluation.hardware import cycles, schedule, traffic, wide
from evaluation.hardware.cycles import Design
from evaluation.hardware.layer_maps import Convolution, ImageMaps, MapRecorder, zero_count
from evaluation.hardware.traffic import Interface
from torch_ebpc.cli.images import ImageSet, PreparedImages
from torch_ebpc.cli.networks import LoadedModel
from torch_ebpc.hardware import EncoderRun

OnRun = Callable[[str, Tensor, EncoderRun], None]
"""Is given a layer's name, its words, and the encoder's run."""


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


@dataclasses.dataclass
class Study:
    """Attributes:
    written: a record of each image's map of each ReLU call: those of :mod:`cycles` and
        :mod:`traffic`, and the encoder's cycles by the recurrence of :mod:`schedule`, with its own
        schedule (``scheduled_cycles``, to see how good it is) and the published one.
    read: a record of what each convolution reads, of :mod:`traffic`.
    convolutions: by name, in the order of the network.
    tiles: the first image's traffic by buffer and burst bytes.
    lanes: the first image through encoders of several words a cycle.
    chunks: the first image in chunks of several sizes.
    raw_blocks: the first image with a raw fallback for every block.
    """

    options: Options
    written: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    read: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    convolutions: dict[str, Convolution] = dataclasses.field(default_factory=dict)
    tiles: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    lanes: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    chunks: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    raw_blocks: pd.Series = dataclasses.field(default_factory=lambda: pd.Series(dtype=int))
    images: int = 0

    @property
    def layers(self) -> pd.DataFrame:
        """A row for each ReLU call, summed over images."""
        return _with_rates(_summed(self.written))

    @property
    def inputs(self) -> pd.DataFrame:
        """A row for what each convolution reads, summed over images."""
        return _summed(self.read)

    @property
    def total(self) -> pd.Series:
        """Of all ReLU calls."""
        whole = [{**record, "name": "total", "shape": ""} for record in self.written]
        return _with_rates(_summed(whole)).loc["total"]

    def add_image(self, maps: ImageMaps, on_run: OnRun | None = None) -> None:
        design, interface = self.options.design, self.options.interface
        for name, words in maps.written.items():
            found, run = cycles.measure(name, words, design)
            if on_run is not None:
                on_run(name, words, run)
            blocks = schedule.blocks_of(words, design)
            ours, published = schedule.cycles_per_symbol(blocks), schedule.cycles_per_plane(blocks)
            self.written.append(
                {"name": name, "shape": "x".join(map(str, words.shape))}
                | found
                | traffic.measure(words, interface, design)
                | {
                    "scheduled_cycles": schedule.cycles(blocks, ours),
                    "published_cycles": schedule.cycles(blocks, published),
                }
            )
        for convolution in maps.convolutions:
            name = convolution.name
            self.convolutions[name] = convolution
            words, zero = maps.read[name], maps.zero_words[name]
            found = traffic.measure(words, interface, dataclasses.replace(design, zero_word=zero))
            found |= {"words": words.numel(), "zeros": zero_count(words, zero)}
            self.read.append({"name": name, "shape": ""} | found)
        self.images += 1

    def sweep(self, maps: ImageMaps) -> None:
        """The first image at other buffers, bursts, lanes and chunks."""
        words, design = list(maps.written.values()), self.options.design
        self.tiles = traffic.sweep(words, self.options.interface, design)
        self.lanes = wide.sweep_lanes(words, design, self.options.interface.buffer_bytes)
        self.chunks = wide.sweep_chunks(words, design)
        self.raw_blocks = wide.raw_blocks(words, design)


def _summed(records: list[dict[str, Any]]) -> pd.DataFrame:
    """By name: sums, but the highest of the high-water marks; with the ratios of traffic."""
    table = pd.DataFrame(records).groupby("name", sort=False)
    other = {"shape": "first"} | {name: "max" for name in records[0] if name.endswith("high_water")}
    columns = [name for name in records[0] if name != "name"]
    return traffic.with_ratios(table.agg({name: other.get(name, "sum") for name in columns}))


def _with_rates(table: pd.DataFrame) -> pd.DataFrame:
    """With words per cycle of every run."""
    runs = [*cycles.RUNS, "encoder_unbounded", "published"]
    rates = {f"{run}_words_per_cycle": table["words"] / table[f"{run}_cycles"] for run in runs}
    return table.assign(**rates)


def run(
    network: LoadedModel, images: ImageSet, options: Options, on_run: OnRun | None = None
) -> Study:
    """Calibrates on all images, then measures each; ``on_run`` sees the first image's runs."""
    prepared = PreparedImages(images, network.transform)

    study = Study(options)
    recorder = MapRecorder(network.model, options.quantizer, options.design.zero_word)
    for i in tqdm(range(len(prepared)), desc="calibrating", unit="image"):
        recorder.calibrate(prepared[i][0])
    for i in tqdm(range(len(prepared)), desc="measuring", unit="image"):
        maps = recorder.record(prepared[i][0])
        study.add_image(maps, on_run if i == 0 else None)
        if i == 0:
            study.sweep(maps)
    return study
