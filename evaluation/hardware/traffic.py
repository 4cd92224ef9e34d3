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

import pandas as pd
from torch import Tensor

from evaluation.hardware.cycles import Design

SWEPT_BUFFERS = (256, 1024, 4096, 16384, 65536)
SWEPT_BURSTS = (16, 32, 64, 128)


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
        for name, value in dataclasses.asdict(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    def padded(self, num_bytes: int) -> int:
        return -(-num_bytes // self.burst_bytes) * self.burst_bytes


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


def measure(words: Tensor, interface: Interface, design: Design) -> dict[str, int]:
    """A record of one image's map, in bytes; it is written once and read ``reads`` times.

    ``raw_bytes``: W bits a word, without padding; ``before_bytes``: the same, padded to a burst.
    ``stream_bytes``: both streams of all tiles in whole words of W bits; ``padded_bytes``: every
    stream of every tile padded to a burst; ``table_bytes``: the address table, padded to a burst;
    ``after_bytes``: all that is stored and moved. ``tiles``, and how many of them take more bursts
    than uncompressed: ``grown_tiles``.
    """
    word_bits = design.word_bits
    raw_bytes = -(-words.numel() * word_bits // 8)
    tiles = stream_bytes = padded_bytes = grown_tiles = 0
    for part in tiles_of(words, word_bits, interface.buffer_bytes):
        streams = design.whole_words(design.stream_bits(part)).add(7) // 8
        bursts = streams.add(interface.burst_bytes - 1) // interface.burst_bytes
        raw_bursts = interface.padded(-(-part.shape[1] * word_bits // 8)) // interface.burst_bytes
        tiles += part.shape[0]
        stream_bytes += int(streams.sum())
        padded_bytes += int(bursts.sum()) * interface.burst_bytes
        grown_tiles += int((bursts.sum(1) > raw_bursts).sum())
    table_bytes = interface.padded(tiles * interface.entry_bytes)
    return {
        "raw_bytes": raw_bytes,
        "before_bytes": interface.padded(raw_bytes),
        "stream_bytes": stream_bytes,
        "padded_bytes": padded_bytes,
        "table_bytes": table_bytes,
        "after_bytes": padded_bytes + table_bytes,
        "tiles": tiles,
        "grown_tiles": grown_tiles,
    }


def with_ratios(table: Any) -> Any:
    """Sums of such records in a DataFrame, with uncompressed / compressed bytes: of what is moved,
    and of the streams alone, which is what the code itself gives on such tiles."""
    return table.assign(
        traffic_ratio=table["before_bytes"] / table["after_bytes"],
        stream_ratio=table["raw_bytes"] / table["stream_bytes"],
    )


def sweep(
    maps: list[Tensor],
    interface: Interface,
    design: Design,
    buffers: tuple[int, ...] = SWEPT_BUFFERS,
    bursts: tuple[int, ...] = SWEPT_BURSTS,
) -> pd.DataFrame:
    """All maps of an image, by buffer and burst bytes."""
    records = []
    for words in maps:
        for buffer in buffers:
            for burst in bursts:
                variant = dataclasses.replace(interface, buffer_bytes=buffer, burst_bytes=burst)
                found = measure(words, variant, design)
                records.append({"buffer_bytes": buffer, "burst_bytes": burst, **found})
    return with_ratios(pd.DataFrame(records).groupby(["buffer_bytes", "burst_bytes"]).sum())
