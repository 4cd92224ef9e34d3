"""ResNet-34's maps through the hardware model (`make hardware`): registers, words a cycle, stalls,
FIFO depths, memory traffic, energy; optionally exports for RTL test benches and accelerator
models."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import torch

import torch_ebpc
from evaluation.common.inputs import add_untrained, find_inputs
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


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.hardware",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    words = Settings()
    interface = Interface()

    group = parser.add_argument_group("network and images")
    source = group.add_argument
    source("--network", default="resnet34", help="a TorchVision network with ReLU")
    source("--weights", type=Path, metavar="FILE", help="a state dict (.pth)")
    source("--images", type=Path, metavar="DIR", help="a folder of images")
    source("--limit", type=positive, default=1, metavar="K", help="use the first K images")
    add_untrained(group)
    source("--threads", type=positive, default=1, help="PyTorch's threads")

    code = parser.add_argument_group("words and code").add_argument
    code("--bits", type=positive, default=words.bits, metavar="W", help="of a word")
    sign = argparse.BooleanOptionalAction
    code("--signed", action=sign, default=words.signed, help="two's complement words")
    code("--rounding", choices=["nearest", "truncate"], default=words.rounding)
    scale = "share of full scale that a layer's maximum comes to"
    code("--headroom", type=float, default=words.headroom, metavar="SHARE", help=scale)
    zero = "word that stands for 0 in maps without negative values, such as -128 of affine int8"
    code("--zero-point", type=int, default=0, metavar="Z", help=zero)
    code("--block-size", type=positive, default=words.block_size, metavar="N")
    code("--max-zero-run", type=positive, default=words.max_zero_run, metavar="R")

    memory = parser.add_argument_group("memory").add_argument
    width = "that the memory port moves in a clock cycle; by default half a word"
    memory("--memory-width", type=positive, metavar="BITS", help=width)
    memory("--burst-bytes", type=positive, default=interface.burst_bytes, metavar="BYTES")
    depth = "of each stream's FIFO; by default two bursts"
    memory("--fifo-words", type=positive, metavar="WORDS", help=depth)
    tile = "on-chip buffer for an uncompressed tile, the unit of random access"
    buffer_bytes = interface.buffer_bytes
    memory("--buffer-bytes", type=positive, default=buffer_bytes, metavar="BYTES", help=tile)
    entry = "of the address table, for each tile"
    entry_bytes = interface.entry_bytes
    memory("--entry-bytes", type=positive, default=entry_bytes, metavar="BYTES", help=entry)
    memory("--reads", type=positive, default=interface.reads, help="of a map, each time written")
    clock = "clock of encoder and decoder; by default the published one"
    memory("--clock", type=float, default=600e6, metavar="HZ", help=clock)
    energy = "whose energy a bit costs in the table by layer"
    memory("--memory", choices=list(MEMORIES), default="dram-low", help=energy)

    output = parser.add_argument_group("output").add_argument
    folder = Path("reports/hardware")
    output("--output", type=Path, default=folder, metavar="DIR", help="folder of the report")
    export = "also write RTL stimuli of the first image and simulators' inputs"
    output("--export", type=Path, metavar="DIR", help=export)
    form = "of the stimuli: one hexadecimal word a line, or as the published test bench reads them"
    forms = ["hexadecimal", "published", "both"]
    output("--stimuli", choices=forms, default="hexadecimal", help=form)
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
        network, images = find_inputs(
            parsed.network, parsed.weights, parsed.images, untrained=parsed.untrained
        )
        images = images.first(parsed.limit).readable()
    except (OSError, ValueError) as error:
        parser.error(str(error))
    torch.set_num_threads(parsed.threads)
    check_inventory()
    print(f"weights: {network.weights}\nimages: {images}")
    if network.warning:
        print(f"\n*** {network.warning} ***\n", file=sys.stderr)

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
