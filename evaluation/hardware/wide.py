"""What more words a cycle cost, and what random access and a raw fallback do.

One wide encoder takes several words of one transmission in a cycle; as many narrow ones take a word
each, of a tile each. Tiles are those of :mod:`evaluation.hardware.traffic`, tile i goes to narrow
encoder i modulo their number, and a map is done when the last of them is. Every tile is counted
until its last beat has left: the next one may follow sooner.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

import torch_ebpc
from evaluation.hardware.traffic import tiles_of
from torch_ebpc.hardware import inventory, run_encoder

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


def sweep_lanes(
    maps: list[Tensor], code: tuple[int, int, int], buffer_bytes: int, zero_word: int = 0
) -> list[LanesRow]:
    """One image's maps through encoders of several widths, without back-pressure."""
    word_bits, block_size, _ = code

    def cycles(words: Tensor, lanes: int) -> int:
        return run_encoder(words, *code, zero_word=zero_word, lanes=lanes).cycles

    one = inventory("encoder", *code).total_bits
    rows = []
    for lanes in LANES:
        if lanes > block_size:
            continue
        bits = inventory("encoder", *code, lanes=lanes).total_bits
        rows.append(LanesRow(lanes, bits, lanes * one))
    for words in maps:
        tiles = [tile for part in tiles_of(words, word_bits, buffer_bytes) for tile in part]
        narrow = [cycles(tile, 1) for tile in tiles]
        for row in rows:
            row.words += words.numel()
            row.map_cycles += cycles(words, row.lanes)
            row.tile_cycles += sum(cycles(tile, row.lanes) for tile in tiles)
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


def sweep_chunks(
    maps: Iterable[Tensor], code: tuple[int, int, int], zero_word: int = 0
) -> list[ChunksRow]:
    """One image's maps: whole, then in chunks from large to small."""
    word_bits = code[0]
    rows = [ChunksRow(chunk) for chunk in (0, *reversed(CHUNKS))]
    for words in maps:
        for row in rows:
            for part in _chunks(words.flatten(), row.chunk_words or words.numel()):
                bits = _transmission_bits(part, code, zero_word)
                bits = bits.add(word_bits - 1) // word_bits * word_bits
                row.add(bits.sum(1), part.shape[1] * word_bits)
    return rows


def raw_blocks(maps: Iterable[Tensor], code: tuple[int, int, int], zero_word: int = 0) -> ChunksRow:
    """A fallback within the plane stream: a flag in front of every block of N non-zero words, which
    follow as they are where their code is longer."""
    word_bits, block_size, _ = code
    found = ChunksRow(block_size)
    for words in maps:
        flat = words.flatten()
        nonzero = flat[flat != zero_word]
        missing = (
            -nonzero.numel() % block_size
        )  # words of 0 fill the last block up, in the code too
        blocks = torch.nn.functional.pad(nonzero, (0, missing)).reshape(-1, block_size)
        bits = _transmission_bits(blocks, code, zero_word)[:, 1]
        found.add(bits, block_size * word_bits)
        zero_bits = int(_transmission_bits(flat.reshape(1, -1), code, zero_word)[0, 0])
        found.stream_bits += zero_bits
        found.fallback_bits += zero_bits
        found.raw_bits += word_bits * (flat.numel() - blocks.numel())
    return found


def _chunks(flat: Tensor, chunk_words: int) -> Iterator[Tensor]:
    whole = flat.numel() - flat.numel() % chunk_words
    for part in (flat[:whole].reshape(-1, chunk_words), flat[whole:].reshape(1, -1)):
        if part.numel() > 0:
            yield part


def _transmission_bits(words: Tensor, code: tuple[int, int, int], zero_word: int) -> Tensor:
    """Bits of both streams of each transmission [transmissions, 2]."""
    word_bits, block_size, max_zero_run = code
    return torch_ebpc.count_transmission_bits(
        words,
        "ebpc",
        word_bits,
        block_size,
        max_zero_run,
        "sent",
        transmission_dims=1,
        zero=zero_word,
    )
