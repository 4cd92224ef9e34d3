"""Feature maps through the cycle-true model: words a cycle, stalls, FIFO depths, bursts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

import torch_ebpc
from evaluation.hardware.layer_maps import zero_count
from torch_ebpc.hardware import (
    DECODER_STALLS,
    ENCODER_STALLS,
    LONGEST_BURST,
    EncoderRun,
    MemoryPort,
    Run,
    run_decoder,
    run_encoder,
)


@dataclasses.dataclass
class Tally:
    """Sums over transmissions of one design at one memory port.

    Attributes:
        words, cycles: uncompressed words; clock cycles.
        stream_words: words of the zero stream and of the plane stream, W bits each.
        stalls: clock cycles in which no uncompressed word moved, by cause.
        fifo_high_water: the most words that ever were in each stream's FIFO.
        bursts: for each stream, bursts by length in cycles at the design's own port.
    """

    words: int = 0
    cycles: int = 0
    stream_words: list[int] = dataclasses.field(default_factory=lambda: [0, 0])
    stalls: dict[str, int] = dataclasses.field(default_factory=dict)
    fifo_high_water: list[int] = dataclasses.field(default_factory=lambda: [0, 0])
    bursts: list[list[int]] = dataclasses.field(
        default_factory=lambda: [[0] * (LONGEST_BURST + 1) for _ in range(2)]
    )

    def add_run(self, run: Run) -> None:
        self.words += run.words
        self.cycles += run.cycles
        self._add_stalls(run.stalls)
        for i, stream in enumerate((run.zero, run.plane)):
            self.stream_words[i] += stream.words
            self.fifo_high_water[i] = max(self.fifo_high_water[i], stream.fifo_high_water)
            self._add_bursts(i, stream.bursts)

    def add(self, other: Tally) -> None:
        self.words += other.words
        self.cycles += other.cycles
        self._add_stalls(other.stalls)
        for i in range(2):
            self.stream_words[i] += other.stream_words[i]
            self.fifo_high_water[i] = max(self.fifo_high_water[i], other.fifo_high_water[i])
            self._add_bursts(i, other.bursts[i])

    def _add_stalls(self, stalls: dict[str, int]) -> None:
        for cause, cycles in stalls.items():
            self.stalls[cause] = self.stalls.get(cause, 0) + cycles

    def _add_bursts(self, stream: int, bursts: Iterable[int]) -> None:
        self.bursts[stream] = [a + b for a, b in zip(self.bursts[stream], bursts, strict=True)]

    @property
    def words_per_cycle(self) -> float:
        return self.words / self.cycles

    def as_dict(self, prefix: str, causes: tuple[str, ...]) -> dict[str, Any]:
        """A flat record, without the histogram."""
        record: dict[str, Any] = {
            f"{prefix}_cycles": self.cycles,
            f"{prefix}_words_per_cycle": self.words_per_cycle,
        }
        record |= {f"{prefix}_stall_{cause}": self.stalls[cause] for cause in causes}
        record |= {
            f"{prefix}_zero_fifo_high_water": self.fifo_high_water[0],
            f"{prefix}_plane_fifo_high_water": self.fifo_high_water[1],
        }
        return record


@dataclasses.dataclass
class LayerCycles:
    """One layer's cycles, summed over images.

    Attributes:
        name: of the layer's call; shape: channels, height, width.
        zeros: words that are zero.
        encoder, decoder: without back-pressure.
        encoder_memory, decoder_memory: behind a memory port with FIFOs of limited depth.
        encoder_unbounded: behind the same port with FIFOs without limit: its high-water marks are
            the depths that would never stall the encoder.
    """

    name: str
    shape: tuple[int, ...] = ()
    images: int = 0
    zeros: int = 0
    encoder: Tally = dataclasses.field(default_factory=Tally)
    decoder: Tally = dataclasses.field(default_factory=Tally)
    encoder_memory: Tally = dataclasses.field(default_factory=Tally)
    decoder_memory: Tally = dataclasses.field(default_factory=Tally)
    encoder_unbounded: Tally = dataclasses.field(default_factory=Tally)

    def tallies(self) -> dict[str, tuple[Tally, tuple[str, ...]]]:
        return {
            "encoder": (self.encoder, ENCODER_STALLS),
            "decoder": (self.decoder, DECODER_STALLS),
            "encoder_memory": (self.encoder_memory, ENCODER_STALLS),
            "decoder_memory": (self.decoder_memory, DECODER_STALLS),
            "encoder_unbounded": (self.encoder_unbounded, ENCODER_STALLS),
        }

    def add(self, other: LayerCycles) -> None:
        self.zeros += other.zeros
        for name in self.tallies():
            getattr(self, name).add(getattr(other, name))

    @property
    def words(self) -> int:
        return self.encoder.words

    @property
    def zero_share(self) -> float:
        return self.zeros / self.words

    def as_dict(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            "name": self.name,
            "shape": "x".join(map(str, self.shape)),
            "images": self.images,
            "words": self.words,
            "zeros": self.zeros,
            "zero_stream_words": self.encoder.stream_words[0],
            "plane_stream_words": self.encoder.stream_words[1],
        }
        for prefix, (tally, causes) in self.tallies().items():
            record |= tally.as_dict(prefix, causes)
        return record


def total_of(layers: Iterable[LayerCycles]) -> LayerCycles:
    total = LayerCycles("total")
    for layer in layers:
        total.add(layer)
        total.images = max(total.images, layer.images)
    return total


@dataclasses.dataclass(frozen=True)
class Design:
    """W, N and R, the memory port behind the design, and the word that counts as zero."""

    word_bits: int
    block_size: int
    max_zero_run: int
    memory: MemoryPort
    zero_word: int = 0

    @property
    def unbounded(self) -> MemoryPort:
        return dataclasses.replace(self.memory, fifo_words=0)

    def encode(self, words: Tensor, memory: MemoryPort | None = None) -> EncoderRun:
        return run_encoder(
            words,
            self.word_bits,
            self.block_size,
            self.max_zero_run,
            memory or MemoryPort(),
            self.zero_word,
        )


def measure(layer: LayerCycles, words: Tensor, design: Design) -> EncoderRun:
    """Adds one transmission to a layer. Every decoder's output is compared with what went in, and
    the encoder's streams with the codec's.

    Returns:
        The encoder's run without back-pressure.
    """
    layer.shape = tuple(words.shape)
    layer.images += 1
    layer.zeros += zero_count(words, design.zero_word)
    encoded = design.encode(words)
    check_streams(encoded, words)
    layer.encoder.add_run(encoded)
    layer.encoder_memory.add_run(design.encode(words, design.memory))
    layer.encoder_unbounded.add_run(design.encode(words, design.unbounded))
    for tally, memory in (
        (layer.decoder, MemoryPort()),
        (layer.decoder_memory, design.memory),
    ):
        decoded = run_decoder(encoded, memory)
        if not torch.equal(decoded.tensor, words):
            raise AssertionError(f"{layer.name}: the decoder does not give the words back")
        tally.add_run(decoded)
    return encoded


def check_streams(encoded: EncoderRun, words: Tensor) -> None:
    """The bits of the hardware's streams are the codec's, up to the padding of the last word."""
    code = (encoded.word_bits, encoded.block_size, encoded.max_zero_run, "sent")
    zero_bits, plane_bits = torch_ebpc.count_transmission_bits(
        words, "ebpc", *code, zero=encoded.zero_word
    ).tolist()
    for stream, bits in ((encoded.zero, zero_bits), (encoded.plane, plane_bits)):
        if stream.words != -(-bits // encoded.word_bits):
            raise AssertionError(
                f"the hardware's {stream.words} words are not the codec's {bits} bits"
            )


@dataclasses.dataclass(frozen=True)
class WidthRow:
    """All layers behind a port of one width.

    Attributes:
        bits_per_cycle: bits that the port moves in a clock cycle.
        encoder, decoder: with FIFOs of limited depth.
        depth: words of W bits; FIFO depth of zero and plane stream that never stalls the encoder.
    """

    bits_per_cycle: int
    encoder: Tally
    decoder: Tally
    depth: tuple[int, int]


def sweep_widths(maps: Iterable[Tensor], design: Design, widths: Iterable[int]) -> list[WidthRow]:
    """One image's layers behind ports of several widths."""
    maps = list(maps)
    rows = []
    for width in widths:
        memory = dataclasses.replace(design.memory, bits_per_cycle=width)
        encoder, decoder, unbounded = Tally(), Tally(), Tally()
        for words in maps:
            encoded = design.encode(words, memory)
            encoder.add_run(encoded)
            decoder.add_run(run_decoder(encoded, memory))
            unbounded.add_run(design.encode(words, dataclasses.replace(memory, fifo_words=0)))
        depth = (unbounded.fifo_high_water[0], unbounded.fifo_high_water[1])
        rows.append(WidthRow(width, encoder, decoder, depth))
    return rows
