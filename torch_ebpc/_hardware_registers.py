"""The registers of the hardware model: counted, and how they grow. Public in
:mod:`torch_ebpc.hardware`."""

from __future__ import annotations

import dataclasses

import torch

from torch_ebpc.errors import translated


@dataclasses.dataclass(frozen=True)
class RegisterGroup:
    """Registers of one name.

    Attributes:
        unit: the unit of the block diagram that they are in.
        name: what they hold.
        count: how many registers.
        bits: bits of each.
    """

    unit: str
    name: str
    count: int
    bits: int

    @property
    def total_bits(self) -> int:
        """Sequential cells, in bits."""
        return self.count * self.bits


@dataclasses.dataclass(frozen=True)
class Inventory:
    """All registers of a design, as its model declares them: there is no other state. ``print``
    shows the table.

    Attributes:
        design: ``"encoder"`` or ``"decoder"``.
        word_bits, block_size, max_zero_run: W, N and R.
        groups: in the order of the data flow.
    """

    design: str
    word_bits: int
    block_size: int
    max_zero_run: int
    groups: tuple[RegisterGroup, ...]

    @property
    def total_bits(self) -> int:
        """Sequential cells of the design, in bits."""
        return sum(group.total_bits for group in self.groups)

    def bits_by_unit(self) -> dict[str, int]:
        """Sequential cells of each unit, in bits."""
        units: dict[str, int] = {}
        for group in self.groups:
            units[group.unit] = units.get(group.unit, 0) + group.total_bits
        return units

    def table(self, tablefmt: str = "simple") -> str:
        """A line for each group, with the sum of its unit, and the total; bits."""
        from tabulate import tabulate

        units = self.bits_by_unit()
        lines: list[tuple[str, ...]] = []
        for group in self.groups:
            shape = f"{group.count} x {group.bits}" if group.count > 1 else f"{group.bits}"
            bits = units.pop(group.unit, None)
            unit = group.unit if bits is not None else ""
            sum_of_unit = "" if bits is None else str(bits)
            lines.append((unit, group.name, shape, str(group.total_bits), sum_of_unit))
        lines.append(("total", "", "", str(self.total_bits), str(self.total_bits)))
        return str(
            tabulate(
                lines,
                ["unit", "register", "registers x bits", "bits", "bits of the unit"],
                tablefmt,
                colalign=("left", "left", "right", "right", "right"),
                disable_numparse=True,
            )
        )

    def __str__(self) -> str:
        return self.table()


@dataclasses.dataclass(frozen=True)
class Growth:
    """Register bits at one W and N, counted over the model's registers.

    Attributes:
        word_bits, block_size: W and N.
        encoder_bits, decoder_bits: sequential cells of each design, in bits.
    """

    word_bits: int
    block_size: int
    encoder_bits: int
    decoder_bits: int


def inventory(
    design: str = "encoder",
    word_bits: int = 8,
    block_size: int = 8,
    max_zero_run: int = 16,
    lanes: int = 1,
) -> Inventory:
    """The registers of a design, ``"encoder"`` or ``"decoder"``; with more than one lane those of
    the wide encoder.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> torch_ebpc.hardware.inventory("decoder").bits_by_unit()["symbol decoder"]
        4
    """
    with translated():
        text: str = torch.ops.torch_ebpc.hardware_inventory(
            design, word_bits, block_size, max_zero_run, lanes
        )
    groups = []
    for line in text.splitlines():
        unit, name, count, bits = line.split("\t")
        groups.append(RegisterGroup(unit, name, int(count), int(bits)))
    return Inventory(design, word_bits, block_size, max_zero_run, tuple(groups))


def register_bits(
    word_bits: int = 8, block_size: int = 8, max_zero_run: int = 16
) -> tuple[int, int]:
    """Bits of encoder and decoder by the growth law in closed form (``docs/hardware.md``); equal to
    what :func:`inventory` counts.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> torch_ebpc.hardware.register_bits(word_bits=8, block_size=8)
        (204, 201)
    """
    with translated():
        encoder, decoder = torch.ops.torch_ebpc.hardware_register_bits(
            word_bits, block_size, max_zero_run
        )
    return encoder, decoder


def growth_law() -> str:
    """The closed form of :func:`register_bits`, several lines of text.

    Example:
        >>> print(growth_law())  # doctest: +ELLIPSIS
        L = max(W, N, ...
    """
    law: str = torch.ops.torch_ebpc.hardware_growth_law()
    return law.rstrip("\n")


def growth_table(
    word_bits: tuple[int, ...] = (4, 8, 12, 16, 32),
    block_sizes: tuple[int, ...] = (4, 8, 16),
    max_zero_run: int = 16,
) -> list[Growth]:
    """Counted bits of encoder and decoder for every W and N.

    Example:
        >>> [growth.encoder_bits for growth in growth_table((8,), (4, 8))]
        [131, 204]
    """
    return [
        Growth(
            w,
            n,
            inventory("encoder", w, n, max_zero_run).total_bits,
            inventory("decoder", w, n, max_zero_run).total_bits,
        )
        for w in word_bits
        for n in block_sizes
    ]
