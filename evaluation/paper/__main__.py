"""The paper's tables in one command (`make paper`): methods, types, networks, averages, claims.

Under torchrun, images are split over the processes and the report is the same, bit for bit where
each process has as many threads (torchrun gives one; compare with --threads 1).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

from evaluation.common.command_line import add_inputs, open_inputs, program
from evaluation.paper import expected
from evaluation.paper.claims import verdicts
from evaluation.paper.paper_report import run_record, write_report
from evaluation.paper.paper_study import NothingToMeasureError, Study, run_study
from evaluation.paper.passes import Ranks, joined
from evaluation.paper.plan import EXTENTS, Extent
from evaluation.paper.presets import PRESETS, Preset
from evaluation.paper.sections import call_agreement, types_table
from evaluation.paper.tap_selection import FUNCTIONS, TapSelection
from torch_ebpc.cli.settings import positive

RULE_OPTIONS: dict[str, dict[str, Any]] = {
    "scale": {"choices": ["batch", "calibrated"]},
    "batch_size": {"type": positive, "help": "images that share a scale under 'batch'"},
    "headroom": {"type": float},
    "rounding": {"choices": ["nearest", "truncate"]},
    "block_size": {"type": positive},
    "max_zero_run": {"type": positive},
    "base": {"choices": ["sent", "reused"]},
    "order": {"choices": ["nchw", "nhwc"]},
}
"""The fields of a preset that have an option of their name."""


def parser() -> argparse.ArgumentParser:
    result = program("evaluation.paper", __doc__)
    result.add_argument("--model", default="resnet34", help="a TorchVision classification network")
    add_inputs(result)
    result.add_argument(
        "--output", type=Path, default=Path("reports/paper"), metavar="DIR",
        help="the report; beside it, in DIR.work, what a later run can resume from",
    )  # fmt: skip

    extent = result.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="everything once, on a few images")
    extent.add_argument("--full", action="store_true", help="also the ablations on all images")
    result.add_argument(
        "--networks", nargs="*", metavar="NAME", help="the other networks to measure beside it"
    )

    result.add_argument(
        "--functions", nargs="*", default=[], choices=list(FUNCTIONS), metavar="NAME",
        help=f"also what these functions give that it calls by itself: {', '.join(FUNCTIONS)}",
    )  # fmt: skip
    rule = result.add_argument_group("rule (a preset, and what is to be different)")
    rule.add_argument("--preset", choices=list(PRESETS), default="notebook")
    for name, how in RULE_OPTIONS.items():
        rule.add_argument(f"--{name.replace('_', '-')}", **how)
    result.add_argument(
        "--update-expected", action="store_true", help="store these ratios as the expected ones"
    )
    return result


def rule_from(options: argparse.Namespace) -> Preset:
    """The preset with the given flags on top of it."""
    given = {name: getattr(options, name) for name in RULE_OPTIONS}
    given = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(PRESETS[options.preset].complete(), **given)


def extent_from(options: argparse.Namespace) -> Extent:
    extent = EXTENTS["quick" if options.quick else "full" if options.full else "default"]
    if options.networks is None:
        return extent
    return dataclasses.replace(extent, networks=tuple(options.networks))


def main(arguments: list[str] | None = None) -> int:
    argument_parser = parser()
    options = argument_parser.parse_args(arguments)
    begin = time.monotonic()
    with joined() as ranks:
        network, images = open_inputs(
            argument_parser, options, options.model, quiet=not ranks.first
        )
        rule = rule_from(options)
        taps = TapSelection(functions=tuple(options.functions)) if options.functions else None
        work = options.output.with_name(f"{options.output.name}.work")
        try:
            study = run_study(
                network, images, rule, extent_from(options), work, ranks, taps,
                untrained=options.untrained,
            )  # fmt: skip
            return finish(study, options, ranks, begin) if ranks.first else 0
        except (NothingToMeasureError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2


def finish(study: Study, options: argparse.Namespace, ranks: Ranks, begin: float) -> int:
    """Writes the report, prints its main figures, and checks them; the exit code."""
    run = run_record(time.monotonic() - begin, ranks.count)
    write_report(study, options.output, run)
    print(f"\n{types_table(study)}\n")
    print(*(verdict.in_a_line() for verdict in verdicts(study)), call_agreement(study), sep="\n")
    print(f"{run['seconds']:g} s, peak memory {run['peak_memory_GiB']:g} GiB (of this process)")
    print(f"report: {options.output / 'report.html'}")

    if options.update_expected:
        expected.store(study)
        return 0
    deviations = expected.check(study)
    if deviations is None:
        print("no expected values are stored for these weights, images and settings")
        return 0
    if deviations:
        print("deviations from the expected ratios:", *deviations, sep="\n  ", file=sys.stderr)
        return 1
    print("all ratios are as expected")
    return 0


if __name__ == "__main__":
    sys.exit(main())
