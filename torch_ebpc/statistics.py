"""What the code of a tensor is made of: symbols, zero runs, bursts and deltas."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from torch_ebpc._arguments import CONSTANTS, TRAITS, check_input, word_of
from torch_ebpc.code import Code, plain_code
from torch_ebpc.errors import translated

SYMBOLS: tuple[str, ...] = (
    "uncompressed",
    "single_zero",
    "zero_run",
    "all_ones",
    "plane_zero",
    "two_ones",
    "single_one",
)
"""The symbols of a bit plane, as in table I of JETCAS 2019.

In order: not compressed; one zero plane; a run of two or more; all ones; zero before the XOR; two
ones, side by side; a single one."""


@dataclasses.dataclass(frozen=True)
class SymbolStatistics:
    """Counts of one tensor or, added with ``+``, of several that have the same parameters.

    The words that fill up a transmission's last block count among its planes and deltas, but not
    as words.

    Example:
        >>> counts = torch_ebpc.symbol_statistics(torch.zeros(40, dtype=torch.int8))
        >>> counts.words, counts.nonzero_words, counts.zero_bits
        (40, 0, 15)
        >>> (counts + counts).words
        80
    """

    word_bits: int
    block_size: int
    max_zero_run: int
    base: str
    words: int
    nonzero_words: int
    blocks: int
    symbols: dict[str, int]  #: codes, by SYMBOLS
    planes: dict[str, int]  #: bit planes that these stand for (more, for zero runs)
    bursts: tuple[int, ...]  #: at i, of i + 1 non-zero words side by side; at the end, or more
    delta_bits: tuple[int, ...]  #: at i, deltas whose magnitude has i bits (0, 1, 2-3, 4-7, ...)
    zero_runs: tuple[int, ...]  #: at i, symbols of i + 1 zero words, up to max_zero_run

    def __add__(self, other: SymbolStatistics) -> SymbolStatistics:
        if not isinstance(other, SymbolStatistics):
            return NotImplemented
        for field in ("word_bits", "block_size", "max_zero_run", "base"):
            if getattr(self, field) != getattr(other, field):
                raise ValueError(
                    f"{field} must be the same to add statistics,"
                    f" got {getattr(self, field)!r} and {getattr(other, field)!r}"
                )
        return dataclasses.replace(
            self,
            words=self.words + other.words,
            nonzero_words=self.nonzero_words + other.nonzero_words,
            blocks=self.blocks + other.blocks,
            symbols={name: self.symbols[name] + other.symbols[name] for name in SYMBOLS},
            planes={name: self.planes[name] + other.planes[name] for name in SYMBOLS},
            bursts=_sum(self.bursts, other.bursts),
            delta_bits=_sum(self.delta_bits, other.delta_bits),
            zero_runs=_sum(self.zero_runs, other.zero_runs),
        )

    @property
    def zero_words(self) -> int:
        """Words of which all bits are zero."""
        return self.words - self.nonzero_words

    @property
    def symbol_bits(self) -> dict[str, int]:
        """Bits that the codes of each symbol take, and ``"base"`` for the first words of blocks:
        together the plane stream."""
        deltas = self.block_size - (self.base == "sent")
        index_bits = (self.block_size - 1).bit_length()
        code_bits = {
            "uncompressed": 1 + deltas,
            "single_zero": 2,
            "zero_run": 3 + (self.word_bits - 1).bit_length(),
            "all_ones": 5,
            "plane_zero": 5,
            "two_ones": 5 + index_bits,
            "single_one": 5 + index_bits,
        }
        bits = {name: count * code_bits[name] for name, count in self.symbols.items()}
        return bits | {"base": self.blocks * self.word_bits if self.base == "sent" else 0}

    @property
    def plane_bits(self) -> int:
        """Bits of the plane stream."""
        return sum(self.symbol_bits.values())

    @property
    def zero_bits(self) -> int:
        """Bits of the zero stream."""
        return self.nonzero_words + sum(self.zero_runs) * self.max_zero_run.bit_length()


def symbol_statistics(
    x: Tensor,
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    transmission_dims: int = 0,
    zero: float = 0,
    *,
    code: Code | None = None,
) -> SymbolStatistics:
    """Counts what EBPC's encoder puts out for a tensor.

    Args:
        x: the tensor; dtypes and other arguments are those of :func:`torch_ebpc.compress`.
        transmission_dims: every index into this many leading dimensions of ``x`` is a transmission
            of its own: 1 for each image of a batch. The counts are of all of them.

    Raises:
        TypeError, ValueError: as :func:`torch_ebpc.count_bits`.

    Example:
        >>> counts = torch_ebpc.symbol_statistics(torch.arange(1, 9, dtype=torch.int8))
        >>> {name: count for name, count in counts.planes.items() if count > 0}
        {'zero_run': 7, 'all_ones': 2}
    """
    check_input("x", x, cuts_graph=False)
    plain = plain_code(code, word_bits, block_size, max_zero_run, base, zero)
    with translated():
        counted = torch.ops.torch_ebpc.statistics.default(
            x.detach(), *plain[:4], transmission_dims, word_of(plain.zero, x.dtype)
        )
    sizes = field_sizes(plain.max_zero_run)
    parts = counted.split(list(sizes.values()))
    fields: dict[str, Any] = {
        name: tuple(part.tolist()) for name, part in zip(sizes, parts, strict=True)
    }
    width = TRAITS[x.dtype].word_bits if plain.word_bits is None else plain.word_bits
    for name in ("words", "nonzero_words", "blocks"):
        (fields[name],) = fields[name]
    for name in ("symbols", "planes"):
        fields[name] = dict(zip(SYMBOLS, fields[name], strict=True))
    fields["delta_bits"] = fields["delta_bits"][: width + 1]
    return SymbolStatistics(width, plain.block_size, plain.max_zero_run, plain.base, **fields)


def field_sizes(max_zero_run: int) -> dict[str, int]:
    """How many numbers each field has in what the operator ``statistics`` returns, in order."""
    return {
        "words": 1,
        "nonzero_words": 1,
        "blocks": 1,
        "symbols": len(SYMBOLS),
        "planes": len(SYMBOLS),
        "bursts": CONSTANTS["longest_burst"],
        "delta_bits": CONSTANTS["delta_bins"],
        "zero_runs": max_zero_run,
    }


def _sum(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))
