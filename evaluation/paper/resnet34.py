"""ResNet-34's compression ratio per ReLU call, on real images: the main job (`make evaluate`)."""

from __future__ import annotations

import sys
from pathlib import Path

from evaluation.common.command_line import open_inputs, program
from evaluation.common.files import whole_files
from evaluation.common.inputs import add_untrained
from torch_ebpc.cli.measurement import Measurement, measure
from torch_ebpc.cli.settings import add_arguments, settings_from

CALLS = 33
VALUES_PER_IMAGE = 3_562_496  # of all ReLU calls, at 224 x 224 pixels


def main(arguments: list[str] | None = None) -> int:
    parser = program("evaluation.paper.resnet34", __doc__)
    add_arguments(parser)
    add_untrained(parser)
    parser.add_argument(
        "--output", type=Path, default=Path("reports/resnet34"), metavar="DIR",
        help="folder of the report",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        settings = settings_from(options)
        settings.words()
    except ValueError as error:
        parser.error(str(error))
    network, images = open_inputs(parser, options)

    measurement = measure(network, images, settings)
    report = measurement.report
    report.title = f"{report.title}; weights: {network.weights}"
    rows, values = len(report.rows), report.total().values
    if (rows, values) != (CALLS, VALUES_PER_IMAGE * len(images.files)):
        print(f"expected {CALLS} calls of {VALUES_PER_IMAGE:,} values an image in total, found"
              f" {rows} calls and {values:,} values", file=sys.stderr)  # fmt: skip
        return 1
    show(measurement)
    write(measurement, options.output)
    return 0


def show(measurement: Measurement) -> None:
    report = measurement.report
    total = report.total()
    print(f"\n{report}\n")
    ratios = ", ".join(f"{method} {total.ratio(method):.3f}" for method in report.methods)
    print(f"total ratio (of sums): {ratios}")
    print(f"top-1: {measurement.top1}", end="")
    print(f"; without compression: {measurement.plain_top1}" if measurement.plain_top1 else "")


def write(measurement: Measurement, folder: Path) -> None:
    report = measurement.report
    with whole_files(folder) as new:
        report.to_csv(new / "layers.csv")
        report.to_json(new / "report.json")
        report.to_markdown(new / "report.md")
        for suffix in ("png", "svg"):
            report.plot(new / f"layers.{suffix}")
    print(f"report: {folder}")


if __name__ == "__main__":
    sys.exit(main())
