"""What more words a cycle cost, and what random access and a raw fallback do.

One wide encoder takes several words of one transmission in a cycle; as many narrow ones take a word
each, of a tile each. Tiles are those of :mod:`evaluation.hardware.traffic`, tile i goes to narrow
encoder i modulo their number, and a map is done when the last of them is. Every tile is counted
until its last beat has left: the next one may follow sooner.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
import torch
from torch import Tensor

from evaluation.hardware.cycles import Design
from evaluation.hardware.traffic import tiles_of
from torch_ebpc.hardware import inventory

LANES = (1, 2, 4, 8)
CHUNKS = (16, 64, 256, 1024, 4096)
ADDRESS_BITS = 32


def sweep_lanes(maps: Iterable[Tensor], design: Design, buffer_bytes: int) -> pd.DataFrame:
    """One image's maps through encoders of several widths, without back-pressure: a row for each
    number of ``lanes``, the words offered in a cycle: of a wide encoder, or by so many narrow ones.

    ``words``: in all maps; ``map_cycles``: of the wide encoder, each map a transmission;
    ``tile_cycles``, ``narrow_cycles``: each tile a transmission, of the wide encoder, and of the
    narrow ones beside each other; ``wide_bits``, ``narrow_bits``: registers, of the wide encoder
    and of all the narrow ones.
    """
    records = []
    for words in maps:
        tiles = [tile for part in tiles_of(words, design.word_bits, buffer_bytes) for tile in part]
        narrow = [design.encode(tile).cycles for tile in tiles]
        records += [
            {
                "lanes": lanes,
                "words": words.numel(),
                "map_cycles": design.encode(words, lanes=lanes).cycles,
                "tile_cycles": sum(design.encode(tile, lanes=lanes).cycles for tile in tiles),
                "narrow_cycles": max(sum(narrow[i::lanes]) for i in range(lanes)),
            }
            for lanes in LANES
            if lanes <= design.block_size
        ]
    table = pd.DataFrame(records).groupby("lanes", as_index=False).sum()
    bits = [inventory("encoder", *design.code, lanes=each).total_bits for each in table["lanes"]]
    return table.assign(wide_bits=bits, narrow_bits=table["lanes"] * bits[0])


def sweep_chunks(maps: Iterable[Tensor], design: Design) -> pd.DataFrame:
    """One image's maps, whole, then in chunks from large to small that are transmissions of their
    own: both streams one after the other, each in whole words of W bits. A row for each number of
    ``chunk_words``, of all chunks but the last of a map; 0 where each map is one chunk.

    ``raw_bits``: uncompressed; ``chunks``: how many, and ``raw_chunks``: how many of them are
    larger than uncompressed; ``stream_bits``: of the streams; ``fallback_bits``: of the streams, or
    of the words as they are where those are fewer, and a flag of a bit for each chunk.
    """
    records = []
    for words in maps:
        flat = words.flatten()
        for chunk_words in (0, *reversed(CHUNKS)):
            size = chunk_words or flat.numel()
            whole = flat.numel() - flat.numel() % size
            for part in (flat[:whole].reshape(-1, size), flat[whole:].reshape(1, -1)):
                if part.numel() > 0:
                    bits = design.whole_words(design.stream_bits(part)).sum(1)
                    raw_bits = part.shape[1] * design.word_bits
                    records.append({"chunk_words": chunk_words} | _chunks(bits, raw_bits))
    return pd.DataFrame(records).groupby("chunk_words", as_index=False, sort=False).sum()


def raw_blocks(maps: Iterable[Tensor], design: Design) -> pd.Series:
    """A fallback within the plane stream: a flag in front of every block of N non-zero words, which
    follow as they are where their code is longer. Sums like those of :func:`sweep_chunks`."""
    size = design.block_size
    records = []
    for words in maps:
        flat = words.flatten()
        nonzero = flat[flat != design.zero_word]
        # Words of 0 fill the last block up, in the code too.
        blocks = torch.nn.functional.pad(nonzero, (0, -nonzero.numel() % size)).reshape(-1, size)
        found = _chunks(design.stream_bits(blocks)[:, 1], size * design.word_bits)
        zero_bits = int(design.stream_bits(flat.reshape(1, -1))[0, 0])
        found["stream_bits"] += zero_bits
        found["fallback_bits"] += zero_bits
        found["raw_bits"] += design.word_bits * (flat.numel() - blocks.numel())
        records.append(found)
    return pd.DataFrame(records).sum()


def _chunks(bits: Tensor, raw_bits: int) -> dict[str, int]:
    """A record of chunks of so many bits each, and uncompressed."""
    return {
        "raw_bits": raw_bits * bits.numel(),
        "chunks": bits.numel(),
        "raw_chunks": int((bits > raw_bits).sum()),
        "stream_bits": int(bits.sum()),
        "fallback_bits": int(bits.clamp(max=raw_bits).sum()) + bits.numel(),
    }


def ratio(row: pd.Series, *, fallback: bool = False, addresses: bool = False) -> float:
    """Uncompressed / compressed, with an address for each chunk if asked for."""
    bits = row["fallback_bits" if fallback else "stream_bits"]
    return float(row["raw_bits"] / (bits + addresses * ADDRESS_BITS * row["chunks"]))
