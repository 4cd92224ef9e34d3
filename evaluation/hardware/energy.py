"""Published energies of moving a bit to or from memory. Figures of others, each with its source;
which of them applies is the reader's choice."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class MemoryEnergy:
    """Attributes:
    name: of the memory.
    pj_per_bit: energy of reading or writing a bit, in picojoule.
    source: who says so.
    """

    name: str
    pj_per_bit: float
    source: str

    def microjoule(self, num_bytes: float) -> float:
        return 8 * num_bytes * self.pj_per_bit * 1e-6


_HOROWITZ = "Horowitz, Computing's energy problem, ISSCC 2014, doi 10.1109/ISSCC.2014.6757323"
_MALLADI = "Malladi et al., ISCA 2012, as in Accelergy's CACTI plug-in"
_OCONNOR = "O'Connor et al., Fine-Grained DRAM, MICRO 2017, doi 10.1145/3123939.3124545"

MEMORIES: dict[str, MemoryEnergy] = {
    "dram-low": MemoryEnergy("DRAM, low", 1300 / 64, f"1.3 nJ for 64 bit: {_HOROWITZ}"),
    "dram-high": MemoryEnergy("DRAM, high", 2600 / 64, f"2.6 nJ for 64 bit: {_HOROWITZ}"),
    "ddr3": MemoryEnergy("DDR3", 70, _MALLADI),
    "lpddr": MemoryEnergy("LPDDR", 40, _MALLADI),
    "lpddr4": MemoryEnergy("LPDDR4", 8, "public data, as in Accelergy's CACTI plug-in"),
    "gddr5": MemoryEnergy("GDDR5", 14, _OCONNOR),
    "hbm2": MemoryEnergy("HBM2", 3.9, _OCONNOR),
    "sram-1m": MemoryEnergy("SRAM, 1 MB", 100 / 64, f"100 pJ for 64 bit: {_HOROWITZ}"),
    "sram-32k": MemoryEnergy("SRAM, 32 KB", 20 / 64, f"20 pJ for 64 bit: {_HOROWITZ}"),
}
"""By the name that the command line knows them by."""
