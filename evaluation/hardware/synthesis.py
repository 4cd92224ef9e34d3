"""What the RTL costs in flip-flops and gates, by Yosys (`make synthesize`)."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.common.command_line import program
from evaluation.common.tables import Table
from evaluation.hardware.layer_tables import LARGEST_ENCODER_BITS
from torch_ebpc import hardware

RTL = Path(__file__).resolve().parents[2] / "csrc/ebpc/hardware/rtl"
# An open library of standard cells, 180 nm: Debian's qflow-tech-osu018.
OSU = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
# NAND2 and inverters of pulp-platform/stream-ebpc, b1dc45b, W = 8, N = 8, by the same tool.
PUBLISHED_LOGIC = {"encoder": (1439, 630), "decoder": (1849, 736)}
SIZES = [(w, n) for w in (4, 8, 12, 16) for n in (4, 8, 16)]


@dataclasses.dataclass(frozen=True)
class Cost:
    """One design after synthesis, R = 16, base sent, signed.

    Attributes:
        flip_flops: bits.
        nands, inverters: the logic in NAND2 gates and inverters alone; flip-flops have enables.
        logic_ge, total_ge: area in the cell library, in NAND2 gates of it, without and with
            flip-flops, whose enables are logic there; None without the library.
    """

    flip_flops: int
    nands: int
    inverters: int
    logic_ge: float | None
    total_ge: float | None


def script(design: str, word_bits: int, block_size: int) -> str:
    count = "opt_clean; tee -q -o /dev/stdout stat -json"
    text = (
        f"read_verilog -sv {RTL}/*.sv; hierarchy -check -top ebpc_{design} -chparam W {word_bits}"
        f" -chparam N {block_size}; synth -flatten; check -assert; design -save synthesized;"
        f" abc -g NAND; {count}"
    )
    if OSU.exists():
        text += f"; design -load synthesized; dfflibmap -liberty {OSU}; abc -liberty {OSU}; {count}"
    return text


def cell_areas() -> dict[str, float]:
    cells = re.findall(r"^\s*cell \((\w+)\) \{.*?area : ([\d.]+);", OSU.read_text(), re.M | re.S)
    return {name: float(area) for name, area in cells}


def cost_of(design: str, word_bits: int, block_size: int) -> Cost:
    """Raises:
    subprocess.CalledProcessError: Yosys refuses the RTL.
    """
    command = ["yosys", "-Q", "-q", "-p", script(design, word_bits, block_size)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    objects = [match.start() for match in re.finditer(r"^\{", printed, re.M)]
    found = [json.JSONDecoder().raw_decode(printed, begin)[0]["design"] for begin in objects]
    gates, *cells = (each["num_cells_by_type"] for each in found)
    flip_flops = sum(count for name, count in gates.items() if "DFF" in name)
    logic = total = None
    if cells:
        areas = cell_areas()
        all_areas = {name: areas[name] / areas["NAND2X1"] * n for name, n in cells[0].items()}
        total = sum(all_areas.values())
        logic = total - sum(area for name, area in all_areas.items() if name.startswith("DFF"))
    return Cost(flip_flops, gates["$_NAND_"], gates["$_NOT_"], logic, total)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = program("evaluation.hardware.synthesis", __doc__)
    parser.parse_args(arguments)
    if shutil.which("yosys") is None:
        print("error: no yosys on the path; Debian has a package of that name", file=sys.stderr)
        return 1
    designs = ("encoder", "decoder")
    jobs = [(design, *size) for size in SIZES for design in designs]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        costs = dict(zip(jobs, pool.map(lambda job: cost_of(*job), jobs), strict=True))
    rows = []
    for w, n in SIZES:
        both = [costs[design, w, n] for design in designs]
        row = [f"{w}", f"{n}", *(f"{cost.flip_flops}" for cost in both)]
        row += [f"{cost.nands:,} + {cost.inverters:,}" for cost in both]
        row += [f"{cost.logic_ge:,.0f}, {cost.total_ge:,.0f}" for cost in both if cost.total_ge]
        rows.append(row)
    headers = ["W", "N", "encoder bits", "decoder bits"]
    headers += ["encoder NAND2 + inverters", "decoder NAND2 + inverters"]
    headers += ["encoder GE, logic and all", "decoder GE, logic and all"] * OSU.exists()
    print(Table("", headers, rows).text("github"))
    faults = [fault for job, cost in costs.items() for fault in faults_of(*job, cost)]
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


def faults_of(design: str, word_bits: int, block_size: int, cost: Cost) -> list[str]:
    """What contradicts the model's count or the claims at W = 8, N = 8."""
    name = f"{design}, W = {word_bits}, N = {block_size}"
    counted = hardware.inventory(design, word_bits, block_size).total_bits
    faults = []
    if cost.flip_flops != counted:
        faults.append(f"{name}: {cost.flip_flops} flip-flops, the model counts {counted}")
    if (word_bits, block_size) == (8, 8):
        nands, inverters = PUBLISHED_LOGIC[design]
        for what, count, most in (
            ("flip-flops", cost.flip_flops, LARGEST_ENCODER_BITS - 1),
            ("NAND2", cost.nands, nands),
            ("inverters", cost.inverters, inverters),
        ):
            if count > most:
                faults.append(f"{name}: {count} {what}, at most {most} by the papers and their RTL")
    return faults


if __name__ == "__main__":
    sys.exit(main())
