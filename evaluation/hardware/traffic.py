"""What crosses the memory interface when maps are stored compressed.

The unit is the tile: what fits into the on-chip buffer uncompressed, and what can be fetched by
itself. A tile is a row group of one channel, or whole channels where they fit. Each is coded as one
transmission, so that it can be decoded alone, and both of its streams start at a burst boundary:
the last burst of each is padded. An address table has one entry for each tile and is moved along
with the map. Nothing else is assumed: no raw fallback, no merging of the two streams, no reuse.

The uncompressed map is taken to be contiguous, padded once at its end, with no table: the most
favourable case for it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor

import torch_ebpc


@dataclasses.dataclass(frozen=True)
class Interface:
    """Attributes:
    buffer_bytes: on-chip buffer that holds a tile uncompressed.
    burst_bytes: bytes of a burst, the least that memory moves.
    entry_bytes: bytes of an address table entry: where both streams of a tile start, 4 bytes
        each, in bursts. Where they end is where the next begins.
    reads: how often a map is read for each time that it is written.
    """

    buffer_bytes: int = 4096
    burst_bytes: int = 64
    entry_bytes: int = 8
    reads: int = 1

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(
                    f"{field.name} must be at least 1, got {getattr(self, field.name)}"
                )

    def padded(self, num_bytes: int) -> int:
        return -(-num_bytes // self.burst_bytes) * self.burst_bytes


@dataclasses.dataclass
class Traffic:
    """Bytes of a map in memory, summed over images; each is written once and read ``reads`` times.

    Attributes:
        raw_bytes: the map, W bits a word, without padding.
        before_bytes: the map uncompressed, padded to a burst.
        stream_bytes: both streams of all tiles in whole words of W bits, as the encoder emits them.
        padded_bytes: the same, every stream of every tile padded to a burst.
        table_bytes: the address table, padded to a burst.
        tiles: how many.
        grown_tiles: how many of them take more bursts than uncompressed.
    """

    raw_bytes: int = 0
    before_bytes: int = 0
    stream_bytes: int = 0
    padded_bytes: int = 0
    table_bytes: int = 0
    tiles: int = 0
    grown_tiles: int = 0

    @property
    def after_bytes(self) -> int:
        """All that is stored and moved: padded streams and the table."""
        return self.padded_bytes + self.table_bytes

    @property
    def ratio(self) -> float:
        """Bytes moved uncompressed / bytes moved compressed."""
        return self.before_bytes / self.after_bytes

    @property
    def stream_ratio(self) -> float:
        """The same without bursts and table: what the code itself gives on such tiles."""
        return self.raw_bytes / self.stream_bytes

    def add(self, other: Traffic) -> None:
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def as_dict(self, interface: Interface) -> dict[str, Any]:
        record = dataclasses.asdict(self)
        for when, num_bytes in (("before", self.before_bytes), ("after", self.after_bytes)):
            record[f"written_{when}_bytes"] = num_bytes
            record[f"read_{when}_bytes"] = num_bytes * interface.reads
        return record | {"traffic_ratio": self.ratio, "stream_ratio": self.stream_ratio}


def tiles_of(words: Tensor, word_bits: int, buffer_bytes: int) -> list[Tensor]:
    """The tiles of a map [channels, height, width], as tensors [tiles, words of each]: all full
    ones in the first, the smaller ones at ends in further ones."""
    channels, height, width = words.shape
    row_bytes = -(-width * word_bits // 8)
    rows = max(1, buffer_bytes // row_bytes)
    if rows >= height:
        per_tile = rows // height
        whole = channels - channels % per_tile
        parts = [words[:whole].reshape(-1, per_tile * height * width)]
        parts.append(words[whole:].reshape(1, -1))
    else:
        whole = height - height % rows
        parts = [words[:, :whole].reshape(-1, rows * width)]
        parts.append(words[:, whole:].reshape(channels, -1))
    return [part for part in parts if part.numel() > 0]


def measure(
    words: Tensor,
    interface: Interface,
    word_bits: int,
    block_size: int,
    max_zero_run: int,
    zero_word: int = 0,
) -> Traffic:
    """The traffic of one image's map."""
    raw_bytes = -(-words.numel() * word_bits // 8)
    traffic = Traffic(raw_bytes=raw_bytes, before_bytes=interface.padded(raw_bytes))
    for part in tiles_of(words, word_bits, interface.buffer_bytes):
        bits = torch_ebpc.count_transmission_bits(
            part,
            "ebpc",
            word_bits,
            block_size,
            max_zero_run,
            "sent",
            transmission_dims=1,
            zero=zero_word,
        )
        stream_words = bits.add(word_bits - 1) // word_bits
        stream_bytes = (stream_words * word_bits).add(7) // 8
        bursts = stream_bytes.add(interface.burst_bytes - 1) // interface.burst_bytes
        raw_bursts = interface.padded(-(-part.shape[1] * word_bits // 8)) // interface.burst_bytes
        traffic.tiles += part.shape[0]
        traffic.stream_bytes += int(stream_bytes.sum())
        traffic.padded_bytes += int(bursts.sum()) * interface.burst_bytes
        traffic.grown_tiles += int((bursts.sum(1) > raw_bursts).sum())
    traffic.table_bytes = interface.padded(traffic.tiles * interface.entry_bytes)
    return traffic


def sweep(
    maps: list[Tensor],
    interface: Interface,
    code: tuple[int, int, int],
    buffers: tuple[int, ...],
    bursts: tuple[int, ...],
    zero_word: int = 0,
) -> dict[tuple[int, int], Traffic]:
    """All maps of an image, by buffer and burst bytes."""
    results = {}
    for buffer_bytes in buffers:
        for burst_bytes in bursts:
            variant = dataclasses.replace(
                interface, buffer_bytes=buffer_bytes, burst_bytes=burst_bytes
            )
            total = results[buffer_bytes, burst_bytes] = Traffic()
            for words in maps:
                total.add(measure(words, variant, *code, zero_word))
    return results


def megabytes_per_second(num_bytes: float, cycles: int, clock_hz: float) -> float:
    """Mean bandwidth of moving so many bytes in so many cycles, in 10^6 bytes a second."""
    return num_bytes / cycles * clock_hz * 1e-6
