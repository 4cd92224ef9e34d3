"""The parameters of the code, as one value."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import torch

from torch_ebpc._arguments import check_int, check_str
from torch_ebpc.errors import translated


@dataclasses.dataclass(frozen=True)
class Code:
    """The parameters of the code, for ``code=`` in the place of the single arguments. What they are
    says :mod:`torch_ebpc.ops`; JETCAS 2019, section III, calls them W, N and R.

    Attributes:
        word_bits: bits of one word; None: the dtype's width.
        block_size: non-zero words in one bit-plane block, 2 to 64.
        max_zero_run: longest zero run that one symbol covers, a power of two, 2 to 65536.
        base: ``"sent"`` with every block, or ``"reused"``.
        zero: the value that counts as zero.

    Raises:
        ValueError: a parameter is out of range.
        TypeError: it has the wrong type.

    Example:
        >>> code = torch_ebpc.Code(block_size=16, base="reused")
        >>> x = torch.arange(100, dtype=torch.int16)
        >>> torch_ebpc.count_bits(x, code=code) < torch_ebpc.count_bits(x)
        True
    """

    word_bits: int | None = None
    block_size: int = 8
    max_zero_run: int = 16
    base: str = "sent"
    zero: float = 0

    def __post_init__(self) -> None:
        plain_code(None, self.word_bits, self.block_size, self.max_zero_run, self.base)
        if isinstance(self.zero, bool) or not isinstance(self.zero, (int, float)):
            raise TypeError(f"zero must be a number, got {type(self.zero).__name__}")
        # What the codec thinks of them, by itself; the zero is one of a dtype that is not known.
        nothing = torch.empty(0, dtype=torch.int32, device="cpu")
        with translated():
            torch.ops.torch_ebpc.count_bits.default(
                nothing, "none", self.word_bits, self.block_size, self.max_zero_run, self.base
            )


class PlainCode(NamedTuple):
    """The arguments of a function, checked for their types; the codec knows the ranges."""

    word_bits: int | None
    block_size: int
    max_zero_run: int
    base: str
    zero: Any


def plain_code(
    code: Code | None,
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    zero: Any = None,
) -> PlainCode:
    """The single arguments of a function, or those of ``code``. A ``zero`` of None is left open.

    Raises:
        TypeError: one of them has the wrong type.
        ValueError: there are both.
    """
    given = PlainCode(word_bits, block_size, max_zero_run, base, zero)
    if code is not None:
        if not isinstance(code, Code):
            raise TypeError(f"code must be a Code or None, got {type(code).__name__}")
        default = (None, 8, 16, "sent", 0)
        twice = [
            name
            for name, value, usual in zip(given._fields, given, default, strict=True)
            if value is not None and value != usual
        ]
        if twice:
            raise ValueError(f"{', '.join(twice)} must not be given beside code, which has them")
        return PlainCode(*dataclasses.astuple(code))
    if word_bits is not None:
        check_int("word_bits", word_bits)
    check_int("block_size", block_size)
    check_int("max_zero_run", max_zero_run)
    check_str("base", base)
    return given
