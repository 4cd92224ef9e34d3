"""ResNet-34's maps through the hardware model (`make hardware`): registers, words a cycle, stalls,
FIFO depths, memory traffic, energy; optionally exports for RTL test benches and accelerator
models."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

import torch

import torch_ebpc
from evaluation.common.command_line import add_inputs, open_inputs, program
from evaluation.common.tables import plain
from evaluation.hardware import hardware_report, hardware_study
from evaluation.hardware.cycles import Design
from evaluation.hardware.energy import MEMORIES
from evaluation.hardware.layer_tables import check_inventory, sections_of
from evaluation.hardware.stimuli import StimuliWriter
from evaluation.hardware.traffic import Interface
from torch_ebpc.cli.settings import Settings, positive
from torch_ebpc.hardware import MemoryPort
from torch_ebpc.report import software_versions

_WORDS, _INTERFACE = Settings(), Interface()
OPTIONS: dict[str, dict[str, tuple[Any, str, str]]] = {
    "words and code": {
        "--bits": (_WORDS.bits, "W", "of a word"),
        "--headroom": (_WORDS.headroom, "SHARE", "of full scale that a layer's maximum comes to"),
        "--block-size": (_WORDS.block_size, "N", "non-zero words of a block"),
        "--max-zero-run": (_WORDS.max_zero_run, "R", "longest zero run of a symbol"),
    },
    "memory": {
        "--memory-width": (None, "BITS", "that the port moves in a cycle; by default half a word"),
        "--fifo-words": (None, "WORDS", "of each stream's FIFO; by default two bursts"),
        "--burst-bytes": (_INTERFACE.burst_bytes, "BYTES", "of a burst"),
        "--buffer-bytes": (_INTERFACE.buffer_bytes, "BYTES", "on chip, for an uncompressed tile"),
        "--entry-bytes": (_INTERFACE.entry_bytes, "BYTES", "of the address table, for each tile"),
        "--reads": (_INTERFACE.reads, "TIMES", "of a map, each time written"),
        "--clock": (600e6, "HZ", "of encoder and decoder; by default the published one"),
    },
}
"""By group and name: the default, what a value is, and help. Whole numbers are positive."""


def make_parser() -> argparse.ArgumentParser:
    parser = program("evaluation.hardware", __doc__)
    add_inputs(parser, limit=1)
    parser.set_defaults(threads=1)
    add = parser.add_argument
    add("--network", default="resnet34", help="a TorchVision network with ReLU")
    for title, group in OPTIONS.items():
        add_to = parser.add_argument_group(title).add_argument
        for name, (default, metavar, text) in group.items():
            kind = float if isinstance(default, float) else positive
            add_to(name, type=kind, default=default, metavar=metavar, help=text)
    sign = argparse.BooleanOptionalAction
    add("--signed", action=sign, default=_WORDS.signed, help="two's complement words")
    add("--rounding", choices=["nearest", "truncate"], default=_WORDS.rounding)
    zero = "word that stands for 0 in maps without negative values, such as -128 of affine int8"
    add("--zero-point", type=int, default=0, metavar="Z", help=zero)
    energy = "whose energy a bit costs in the table by layer"
    add("--memory", choices=list(MEMORIES), default="dram-low", help=energy)
    folder = Path("reports/hardware")
    add("--output", type=Path, default=folder, metavar="DIR", help="folder of the report")
    export = "also write RTL stimuli of the first image and simulators' inputs"
    add("--export", type=Path, metavar="DIR", help=export)
    form = "of the stimuli: one hexadecimal word a line, or as the published test bench reads them"
    forms = ["hexadecimal", "published", "both"]
    add("--stimuli", choices=forms, default="hexadecimal", help=form)
    return parser


def options_from(arguments: argparse.Namespace) -> hardware_study.Options:
    """What the command line asks for.

    Raises:
        ValueError: an option is out of range.
    """
    quantizer = torch_ebpc.Quantizer(
        arguments.bits, arguments.signed, arguments.rounding, "calibrated", arguments.headroom
    )
    two_bursts = -(-2 * 8 * arguments.burst_bytes // arguments.bits)
    port = MemoryPort(
        arguments.memory_width or max(1, arguments.bits // 2),
        arguments.burst_bytes,
        arguments.fifo_words or two_bursts,
    )
    if arguments.zero_point >= quantizer.largest_word:
        raise ValueError(
            f"zero_point must be below {quantizer.largest_word}, got {arguments.zero_point}"
        )
    design = Design(
        arguments.bits, arguments.block_size, arguments.max_zero_run, port, arguments.zero_point
    )
    # The model says now what it does not take, not after the network has run.
    design.encode(torch.zeros(1, dtype=quantizer.dtype), port)
    interface = Interface(
        arguments.buffer_bytes, arguments.burst_bytes, arguments.entry_bytes, arguments.reads
    )
    if arguments.clock <= 0:
        raise ValueError(f"clock must be positive, got {arguments.clock}")
    return hardware_study.Options(quantizer, design, interface, arguments.clock, arguments.memory)


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser()
    parsed = parser.parse_args(arguments)
    try:
        options = options_from(parsed)
    except ValueError as error:
        parser.error(str(error))
    network, images = open_inputs(parser, parsed, parsed.network)
    check_inventory()

    stimuli = None
    if parsed.export is not None:
        stimuli = StimuliWriter(
            parsed.export / "stimuli",
            parsed.signed,
            hexadecimal=parsed.stimuli != "published",
            published=parsed.stimuli != "hexadecimal",
        )
    result = hardware_study.run(network, images, options, stimuli.add if stimuli else None)

    w, n, _ = options.design.code
    sign = "signed" if parsed.signed else "unsigned"
    count = f"{result.images} image" + ("s" if result.images != 1 else "")
    parts = [network.warning, f"{network.name} in hardware: W = {w} {sign}, N = {n}, {count}"]
    title = "; ".join(filter(None, [*parts, f"weights: {network.weights}"]))
    print(*plain(sections_of(result)), sep="\n\n")
    words = int(result.total["words"])
    print(f"\nverified: {words:,} words decoded, with and without back-pressure")
    provenance = {
        "network": network.name,
        "weights": network.weights,
        "weights_sha256": network.weights_sha256,
        "images": str(images),
        "images_sha256": images.sha256(),
        "options": dataclasses.asdict(options),
        **software_versions(),
    }
    hardware_report.write(result, title, network.warning, provenance, parsed.output)
    print(f"report: {parsed.output}")
    if stimuli is not None:
        stimuli.close()
        left_out = hardware_report.export_simulators(result, network.name, parsed.export)
        if left_out:
            print(left_out, file=sys.stderr)
        print(f"exports: {parsed.export}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
