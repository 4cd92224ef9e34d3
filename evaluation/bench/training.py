"""What training costs in memory and time: plain, with save_compressed, and with what PyTorch has
(save_on_cpu, checkpoints, a checkpoint's inputs compressed).

For each network and type of numbers, a table of methods by allocators: the peak of resident memory,
above what the process had before its first step (gradients and momentum are part of it), and the
time of a step, each also as a part of the plain loop's with the same allocator; JSON has processor
times, too. Allocators: glibc's malloc as it comes ("default"); with a fixed threshold and huge
pages by GLIBC_TUNABLES in the environment ("mapped"), by which freed memory goes back to the system
at once; and jemalloc, tcmalloc and mimalloc, as far as they are installed.

Each method trains in a process of its own from the same weights on the same examples, one step at a
time and in alternating order, so that a machine whose speed drifts does not favour one of them.
Times are medians. Of every step the loss and all gradients must be those of the plain run, to the
last bit.

It takes long. Options choose networks, types, allocators and methods; --resume leaves out what the
JSON file has already, and goes on from there.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes.util
import dataclasses
import hashlib
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

import torch_ebpc
from evaluation.bench import training_ratios
from evaluation.bench.training_networks import BATCHES, DTYPES, TRAINED, Source
from evaluation.common.command_line import program
from evaluation.common.files import write_json
from evaluation.common.inputs import add_untrained, find_images, spread
from evaluation.common.machine import machine, peak_memory, reset_peak_memory
from evaluation.common.networks import load_model
from evaluation.common.tables import Table
from torch_ebpc.cli.settings import positive

MALLOCS = {
    "default": {},
    "mapped": {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=262144:glibc.malloc.hugetlb=1"},
} | {
    name: {"LD_PRELOAD": library}
    for name in ("jemalloc", "tcmalloc_minimal", "mimalloc")
    if (library := ctypes.util.find_library(name)) is not None
}


# By the name of a method, what is around its forward pass; "checkpoint..." has checkpoints as well.
METHODS: dict[str, Callable[[nn.Module], contextlib.AbstractContextManager[Any]]] = {
    "plain": lambda model: contextlib.nullcontext(),
    "save_compressed": torch_ebpc.save_compressed,
    # Only trims.
    "compress=False": lambda model: torch_ebpc.save_compressed(model, compress=False),
    "trim=False": lambda model: torch_ebpc.save_compressed(model, trim=False),
    "min_ratio=1.25": lambda model: torch_ebpc.save_compressed(model, min_ratio=1.25),
    "block_size=8": lambda model: torch_ebpc.save_compressed(model, block_size=8),
    "save_on_cpu": lambda model: torch.autograd.graph.save_on_cpu(),
    "checkpoint": lambda model: contextlib.nullcontext(),
    "checkpoint+save_compressed": torch_ebpc.save_compressed,
}


@dataclasses.dataclass
class Row:
    """One method of a network of one type, with one allocator."""

    network: str
    dtype: str
    malloc: str
    method: str
    seconds: list[float] = dataclasses.field(default_factory=list)  # of each step
    processor_seconds: list[float] = dataclasses.field(default_factory=list)
    peak_bytes: list[int] = dataclasses.field(default_factory=list)  # resident
    tensor_bytes: int | None = None  # that saved tensors have, at most at one time
    stored_bytes: int | None = None  # that they are kept in

    @property
    def group(self) -> tuple[str, str, str]:
        """All whose bits are the same, and that are measured in turn."""
        return self.network, self.dtype, self.malloc


# ---- One process ---------------------------------------------------------------------------------


def work(connection: Any, source: Source, dtype: str, name: str, threads: int) -> None:
    """Trains a step whenever it is told to, and answers with what was measured."""
    torch.set_num_threads(threads)
    training = source.prepared(dtype)
    if name.startswith("checkpoint"):
        training.checkpoint_parts()
    model = training.model
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    before = reset_peak_memory()
    while connection.recv():
        torch.manual_seed(0)
        saving = METHODS[name](model)
        reset_peak_memory()
        begin, processor = time.perf_counter(), time.process_time()
        with saving:
            loss = training.loss()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        answer: dict[str, Any] = {
            "seconds": time.perf_counter() - begin,
            "processor_seconds": time.process_time() - processor,
            "peak_bytes": peak_memory() - before,
        }
        digest = hashlib.sha256()
        for parameter in model.parameters():
            assert parameter.grad is not None
            digest.update(parameter.grad.view(torch.uint8).numpy().data)
        optimizer.zero_grad()
        answer["bits"] = (float(loss.item()).hex(), digest.hexdigest())
        if isinstance(saving, torch_ebpc.save_compressed):
            report = saving.report()
            answer["tensor_bytes"] = report.peak_tensor_bytes
            answer["stored_bytes"] = report.peak_stored_bytes
        connection.send(answer)


@contextlib.contextmanager
def processes(
    source: Source, dtype: str, malloc: str, names: list[str], threads: int
) -> Iterator[dict[str, Any]]:
    """The connections to a process for each method."""
    context = multiprocessing.get_context("spawn")
    connections, started = {}, []
    before = dict(os.environ)
    os.environ.update(MALLOCS[malloc])
    try:
        for name in names:
            connections[name], theirs = context.Pipe()
            arguments = (theirs, source, dtype, name, threads)
            process = context.Process(target=work, args=arguments, daemon=True)
            process.start()
            theirs.close()
            started.append(process)
    finally:
        os.environ.clear()
        os.environ.update(before)
    try:
        yield connections
    finally:
        for connection in connections.values():
            with contextlib.suppress(OSError):  # it has ended by an error that it has printed
                connection.send(False)
        for process in started:
            process.join()


def measure(
    source: Source, dtype: str, malloc: str, methods: list[str], steps: int, threads: int
) -> list[Row]:
    """A step of each method to get warm, then so many steps of all in turn."""
    rows = {name: Row(source.network, dtype, malloc, name) for name in methods}
    what = f"{source.network}, {dtype}, {malloc} malloc"
    with (
        processes(source, dtype, malloc, methods, threads) as connections,
        tqdm(total=(steps + 1) * len(rows), desc=what) as progress,
    ):
        for index in range(steps + 1):
            bits: dict[str, Any] = {}
            for name in rows if index % 2 == 0 else reversed(rows):
                connections[name].send(True)
                try:
                    answer = connections[name].recv()
                except EOFError as error:
                    raise RuntimeError(f"the process of {name} has ended by an error") from error
                bits[name] = answer["bits"]
                row = rows[name]
                row.tensor_bytes = answer.get("tensor_bytes")
                row.stored_bytes = answer.get("stored_bytes")
                if index > 0:
                    row.seconds.append(answer["seconds"])
                    row.processor_seconds.append(answer["processor_seconds"])
                    row.peak_bytes.append(answer["peak_bytes"])
                progress.update()
            check_same(f"{what}, step {index}", bits)
    return list(rows.values())


def check_same(what: str, bits: dict[str, Any]) -> None:
    """Whether loss and gradients are the same with all methods.

    Raises:
        AssertionError: they are not.
    """
    different = [name for name in bits if bits[name] != bits["plain"]]
    if different:
        raise AssertionError(
            f"{what}: loss or gradients are not those of the plain run, to the last bit, with"
            f" {', '.join(different)}"
        )


# ---- Output --------------------------------------------------------------------------------------


def tables(rows: list[Row], tablefmt: str = "simple") -> str:
    """One for each network and type, of methods by allocators."""
    found = {(*row.group, row.method): row for row in rows}
    texts = []
    for network, dtype in dict.fromkeys((row.network, row.dtype) for row in rows):
        mine = [row for row in rows if (row.network, row.dtype) == (network, dtype)]
        mallocs = list(dict.fromkeys(row.malloc for row in mine))
        lines = []
        for method in dict.fromkeys(row.method for row in mine):
            line = [method]
            for malloc in mallocs:
                row = found.get((network, dtype, malloc, method))
                plain = found[network, dtype, malloc, "plain"]
                line += ["", ""] if row is None else _cells(row, plain)
            lines.append(line)
        headers = [f"{network}, {dtype}"]
        for malloc in mallocs:
            headers += [f"{malloc}: peak MB", "step s"]
        texts.append(Table("", headers, lines).text(tablefmt))
    return "\n\n".join(texts)


def _cells(row: Row, plain: Row) -> list[str]:
    peak, seconds = max(row.peak_bytes), statistics.median(row.seconds)
    of_peak = peak / max(plain.peak_bytes)
    # In pairs of one round: the machine's speed drifts less within it.
    of_seconds = statistics.median(a / b for a, b in zip(row.seconds, plain.seconds, strict=True))
    return [f"{peak / 1e6:.0f} ({of_peak:.2f})", f"{seconds:.2f} ({of_seconds:.2f})"]


def main(arguments: list[str] | None = None) -> int:
    parser = program("evaluation.bench.training", __doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all rows as JSON")
    parser.add_argument("--resume", action="store_true", help="keep the rows of the JSON file")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="a ResNet's state dict (.pth)")
    add_untrained(parser)
    parser.add_argument("--images", type=Path, metavar="DIR", help="a folder of images")
    parser.add_argument("--batch", type=positive, help="examples of a step (by the network)")
    parser.add_argument("--rounds", type=positive, default=3, help="steps that are timed")
    parser.add_argument(
        "--threads", type=positive, default=torch.get_num_threads(), help="PyTorch's threads"
    )
    parser.add_argument("--networks", nargs="+", choices=BATCHES, default=list(BATCHES))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--mallocs", nargs="+", choices=MALLOCS, default=list(MALLOCS))
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=list(METHODS), help="plain is always there"
    )
    parser.add_argument(
        "--ratios",
        action="store_true",
        help="instead: what ResNet-34 saves, by what made it, and how small it becomes",
    )
    options = parser.parse_args(arguments)
    if options.resume and options.json is None:
        parser.error("--resume: give the file by --json FILE, too")
    networks = ["resnet34"] if options.ratios else options.networks
    methods = ["plain", *(name for name in options.methods if name != "plain")]

    content: dict[str, Any] = {"machine": machine() | {"threads": options.threads}, "rows": []}
    if options.resume and options.json.exists():
        content["rows"] = json.loads(options.json.read_text())["rows"]
    rows = [Row(**row) for row in content["rows"]]
    done = {row.group for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        for network in networks:
            try:
                source = _source(network, Path(folder), options)
            except (OSError, ValueError) as error:
                parser.error(str(error))
            for dtype in options.dtypes:
                if options.ratios:
                    content["rows"] += training_ratios.ratios(source, dtype)
                    continue
                for malloc in options.mallocs:
                    if (network, dtype, malloc) in done:
                        continue
                    rows += measure(source, dtype, malloc, methods, options.rounds, options.threads)
                    content["rows"] = [dataclasses.asdict(row) for row in rows]
                    if options.json:
                        write_json(content, options.json)
    if options.json:
        write_json(content, options.json)

    print("\n" + "; ".join(content["machine"][key] for key in ("cpu", "date")))
    if options.ratios:
        print(training_ratios.table(content["rows"]))
        return 0
    print("in brackets: of the plain loop's with the same allocator\n\n" + tables(rows))
    print("\nloss and gradients of every step: the same bits as those of the plain run")
    return 0


def _source(network: str, folder: Path, options: argparse.Namespace) -> Source:
    images = spread(find_images(options.images), options.batch or BATCHES[network])
    weights = None
    if network in TRAINED:
        loaded = load_model(network, options.weights, untrained=options.untrained)
        weights = folder / f"{network}.pth"
        torch.save(loaded.model.state_dict(), weights)
        print("; ".join(filter(None, (loaded.warning, network, loaded.weights, str(images)))))
    return Source(network, weights, images)


if __name__ == "__main__":
    sys.exit(main())
