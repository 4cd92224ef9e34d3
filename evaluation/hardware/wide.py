"""What more words a cycle cost, and what random access and a raw fallback do.

One wide encoder takes several words of one transmission in a cycle; as many narrow ones take a word
each, of a tile each. Tiles are those of :mod:`evaluation.hardware.traffic`, tile i goes to narrow
encoder i modulo their number, and a map is done when the last of them is. Every tile is counted
until its last beat has left: the next one may follow sooner.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch
from torch import Tensor

from evaluation.hardware.cycles import Design
from evaluation.hardware.traffic import tiles_of
from torch_ebpc.hardware import inventory

LANES = (1, 2, 4, 8)
CHUNKS = (16, 64, 256, 1024, 4096)
ADDRESS_BITS = 32


@dataclasses.dataclass
class LanesRow:
    """Attributes:
    lanes: words offered in a cycle: of one wide encoder, or by so many narrow ones.
    wide_bits, narrow_bits: registers, of the wide encoder and of all the narrow ones.
    words: in all maps.
    map_cycles: of the wide encoder, each map a transmission.
    tile_cycles, narrow_cycles: each tile a transmission: of the wide encoder, and of the narrow
        ones beside each other.
    """

    lanes: int
    wide_bits: int
    narrow_bits: int
    words: int = 0
    map_cycles: int = 0
    tile_cycles: int = 0
    narrow_cycles: int = 0


def sweep_lanes(maps: list[Tensor], design: Design, buffer_bytes: int) -> list[LanesRow]:
    """One image's maps through encoders of several widths, without back-pressure."""

    def bits(lanes: int) -> int:
        return inventory("encoder", *design.code, lanes=lanes).total_bits

    widths = [lanes for lanes in LANES if lanes <= design.block_size]
    rows = [LanesRow(lanes, bits(lanes), lanes * bits(1)) for lanes in widths]
    for words in maps:
        tiles = [tile for part in tiles_of(words, design.word_bits, buffer_bytes) for tile in part]
        narrow = [design.encode(tile).cycles for tile in tiles]
        for row in rows:
            row.words += words.numel()
            row.map_cycles += design.encode(words, lanes=row.lanes).cycles
            row.tile_cycles += sum(design.encode(tile, lanes=row.lanes).cycles for tile in tiles)
            row.narrow_cycles += max(sum(narrow[i :: row.lanes]) for i in range(row.lanes))
    return rows


@dataclasses.dataclass
class ChunksRow:
    """Bits of all maps, cut into chunks that are transmissions of their own: both streams one after
    the other, each in whole words of W bits.

    Attributes:
        chunk_words: of all chunks but the last of a map; 0 where each map is one chunk.
        raw_bits: uncompressed.
        chunks: how many, and raw_chunks: how many of them are larger than uncompressed.
        stream_bits: of the streams.
        fallback_bits: of the streams, or of the words as they are where those are fewer, and a flag
            of a bit for each chunk.
    """

    chunk_words: int
    raw_bits: int = 0
    chunks: int = 0
    raw_chunks: int = 0
    stream_bits: int = 0
    fallback_bits: int = 0

    def ratio(self, *, fallback: bool = False, addresses: bool = False) -> float:
        """Uncompressed / compressed, with an address for each chunk if asked for."""
        bits = self.fallback_bits if fallback else self.stream_bits
        return self.raw_bits / (bits + addresses * ADDRESS_BITS * self.chunks)

    def add(self, bits: Tensor, raw_bits: int) -> None:
        """Counts chunks of so many words: bits of each, and of each uncompressed."""
        self.raw_bits += raw_bits * bits.numel()
        self.chunks += bits.numel()
        self.raw_chunks += int((bits > raw_bits).sum())
        self.stream_bits += int(bits.sum())
        self.fallback_bits += int(bits.clamp(max=raw_bits).sum()) + bits.numel()


def sweep_chunks(maps: Iterable[Tensor], design: Design) -> list[ChunksRow]:
    """One image's maps: whole, then in chunks from large to small."""
    rows = [ChunksRow(chunk) for chunk in (0, *reversed(CHUNKS))]
    for words in maps:
        flat = words.flatten()
        for row in rows:
            size = row.chunk_words or flat.numel()
            whole = flat.numel() - flat.numel() % size
            for part in (flat[:whole].reshape(-1, size), flat[whole:].reshape(1, -1)):
                if part.numel() > 0:
                    bits = design.whole_words(design.stream_bits(part))
                    row.add(bits.sum(1), part.shape[1] * design.word_bits)
    return rows


def raw_blocks(maps: Iterable[Tensor], design: Design) -> ChunksRow:
    """A fallback within the plane stream: a flag in front of every block of N non-zero words, which
    follow as they are where their code is longer."""
    size = design.block_size
    found = ChunksRow(size)
    for words in maps:
        flat = words.flatten()
        nonzero = flat[flat != design.zero_word]
        # Words of 0 fill the last block up, in the code too.
        blocks = torch.nn.functional.pad(nonzero, (0, -nonzero.numel() % size)).reshape(-1, size)
        found.add(design.stream_bits(blocks)[:, 1], size * design.word_bits)
        zero_bits = int(design.stream_bits(flat.reshape(1, -1))[0, 0])
        found.stream_bits += zero_bits
        found.fallback_bits += zero_bits
        found.raw_bits += design.word_bits * (flat.numel() - blocks.numel())
    return found
