"""What the hooks cost: a network's forward passes with a meter against the bare ones, in one run.

Each round times the bare pass and the measured one in turn, in alternating order; the overhead is
the median over the rounds of their quotient, with the 10th and 90th percentile.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from pathlib import Path
from typing import Literal

import numpy
import torch
from torch import Tensor, nn
from tqdm import tqdm

import torch_ebpc
from evaluation.common.command_line import program
from evaluation.common.files import write_json
from evaluation.common.inputs import batch_of, find_inputs
from evaluation.common.machine import with_threads
from evaluation.common.tables import Table
from torch_ebpc.cli.images import PreparedImages
from torch_ebpc.cli.networks import LoadedModel
from torch_ebpc.cli.settings import positive
from torch_ebpc.report import software_versions

WORDS: dict[str, torch_ebpc.Quantizer | torch_ebpc.FloatCast | None] = {
    "fixed8": torch_ebpc.Quantizer(8, rounding="truncate", headroom=0.75),
    "bfloat16": torch_ebpc.FloatCast(torch.bfloat16),
    "float32": None,
}


@dataclasses.dataclass
class Case:
    """One way to measure one network's passes."""

    mode: Literal["observe", "insert"]
    words: str = "fixed8"
    methods: tuple[str, ...] = ("ebpc",)
    layers: int | None = None  # the first so many activation modules; None: all
    batch: int = 8
    threads: int = 2
    plain_seconds: list[float] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)

    def overhead(self, percentile: float = 50) -> float:
        """Per cent of the bare pass that the meter adds."""
        quotients = numpy.array(self.seconds) / numpy.array(self.plain_seconds)
        return 100 * (float(numpy.percentile(quotients, percentile)) - 1)


def all_cases(threads: int) -> list[Case]:
    modes: tuple[Literal["observe", "insert"], ...] = ("observe", "insert")
    cases = [Case(mode, words, threads=threads) for mode in modes for words in WORDS]
    cases.append(Case("observe", methods=("ebpc", "bpc", "zvc", "zero_rle"), threads=threads))
    for mode in modes:
        cases += [Case(mode, layers=layers, threads=threads) for layers in (1, 4, 9)]
        cases += [Case(mode, batch=batch, threads=threads) for batch in (1, 2, 32)]
        cases += [Case(mode, threads=each) for each in range(1, threads)]
    return cases


def meter_of(model: nn.Module, case: Case) -> torch_ebpc.CompressionMeter:
    names = [name for name, module in model.named_modules() if isinstance(module, nn.ReLU)]
    words, methods = WORDS[case.words], case.methods
    return torch_ebpc.CompressionMeter(
        model, names[: case.layers], quantizer=words, mode=case.mode, methods=methods
    )


def measure(network: LoadedModel, images: Tensor, cases: list[Case], rounds: int) -> None:
    model = network.model
    for index in tqdm(range(rounds + 1), desc="measuring", unit="round"):
        for case in cases:
            batch = images[: case.batch]
            meter = meter_of(model, case)
            with with_threads(case.threads), torch.inference_mode():
                for measured in (False, True) if index % 2 == 0 else (True, False):
                    with meter if measured else contextlib.nullcontext():
                        begin = time.perf_counter()
                        model(batch)
                        seconds = time.perf_counter() - begin
                    if index > 0:  # the first round is for caches and memory
                        (case.seconds if measured else case.plain_seconds).append(seconds)


def table(cases: list[Case], modules: int) -> str:
    rows = [
        [
            case.mode,
            case.words,
            ", ".join(case.methods),
            f"{case.layers or modules} of {modules}",
            case.batch,
            case.threads,
            f"{1e3 * float(numpy.median(case.plain_seconds)) / case.batch:.1f}",
            f"{1e3 * float(numpy.median(case.seconds)) / case.batch:.1f}",
            f"{case.overhead():+.1f} ({case.overhead(10):+.1f} to {case.overhead(90):+.1f})",
        ]
        for case in cases
    ]
    headers = ["mode", "words", "methods", "modules", "batch", "threads", "bare ms/image"]
    headers += ["ms/image", "overhead %"]
    return Table("", headers, rows).text()


def main(arguments: list[str] | None = None) -> int:
    parser = program("evaluation.bench.overhead", __doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all cases as JSON")
    parser.add_argument("--rounds", type=positive, default=9, help="how often each is timed")
    options = parser.parse_args(arguments)

    network, files = find_inputs()
    cases = all_cases(torch.get_num_threads())
    files = files.first(max(case.batch for case in cases)).readable()
    images, _ = batch_of(PreparedImages(files, network.transform))
    measure(network, images, cases, options.rounds)
    modules = sum(isinstance(module, nn.ReLU) for module in network.model.modules())
    information = software_versions()
    print(f"\n{network.name}, {network.weights}; {files}")
    print(f"{information['cpu']}; torch {information['torch']}; {information['date']}")
    print(table(cases, modules))
    if options.json:
        content = {"machine": information, "cases": [dataclasses.asdict(case) for case in cases]}
        write_json(content, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
