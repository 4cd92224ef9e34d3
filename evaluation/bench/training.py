"""What training ResNet-34 costs in memory and time: plain, with save_compressed, and with what
PyTorch has (save_on_cpu, checkpoints, a checkpoint's inputs compressed).

Each method trains in a process of its own from the same weights on the same images, one step at a
time and in alternating order, so that a machine whose speed drifts does not favour one of them. Of
every step the loss and all gradients must be those of the plain run, to the last bit. Medians are
given with their spread (smallest and largest).

Two tables. The first says what becomes of the saved tensors, by the function that made them. The
second has each method's peak of resident memory, above what its process had before the first step
(gradients and momentum are part of it), and its time. It is measured with glibc's malloc as it
comes ("default"); with a fixed threshold and huge pages by GLIBC_TUNABLES in the environment
("mapped"), by which freed memory goes back to the system at once; and with jemalloc, tcmalloc and
mimalloc, as far as they are installed.
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
from tabulate import tabulate
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader
from tqdm import tqdm

import torch_ebpc
from evaluation.bench.throughput import machine, peak_memory, reset_peak_memory
from evaluation.common import compressors
from evaluation.common.inputs import add_untrained, find_images, spread
from evaluation.common.networks import load_model
from torch_ebpc._saved_memory import Range, range_of, words_of
from torch_ebpc.cli.images import ImageSet, PreparedImages
from torch_ebpc.cli.settings import positive
from torch_ebpc.report import written
from torch_ebpc.saved_tensors import made_by

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MALLOCS = {
    "default": {},
    "mapped": {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=262144:glibc.malloc.hugetlb=1"},
} | {
    name: {"LD_PRELOAD": library}
    for name in ("jemalloc", "tcmalloc_minimal", "mimalloc")
    if (library := ctypes.util.find_library(name)) is not None
}
# More than any tensor has: all are counted, and none is compressed.
COUNT_ONLY = 1 << 62


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to keep what the backward pass needs."""

    checkpoints: bool = False  # of the residual blocks
    saving: Callable[[nn.Module], contextlib.AbstractContextManager[Any]] | None = None


METHODS = {
    "plain": Method(),
    "save_compressed": Method(saving=torch_ebpc.save_compressed),
    "save_compressed, compress=False (only trims)": Method(
        saving=lambda model: torch_ebpc.save_compressed(model, compress=False)
    ),
    "save_compressed, trim=False": Method(
        saving=lambda model: torch_ebpc.save_compressed(model, trim=False)
    ),
    "save_compressed, min_ratio=1.25": Method(
        saving=lambda model: torch_ebpc.save_compressed(model, min_ratio=1.25)
    ),
    "save_on_cpu": Method(saving=lambda model: torch.autograd.graph.save_on_cpu()),
    "checkpoint": Method(checkpoints=True),
    "checkpoint + save_compressed": Method(True, torch_ebpc.save_compressed),
}


@dataclasses.dataclass
class Row:
    """One method of one type, with one malloc."""

    dtype: str
    malloc: str
    method: str
    seconds: list[float] = dataclasses.field(default_factory=list)
    peak_bytes: list[int] = dataclasses.field(default_factory=list)  # resident, of each step
    tensor_bytes: int | None = None  # that saved tensors have, at most at one time
    stored_bytes: int | None = None  # that they are kept in


# ---- Network and images --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Source:
    """The same for every process; none looks for weights or images itself."""

    weights: Path
    images: ImageSet

    def prepared(self, dtype: str) -> tuple[nn.Module, Tensor, Tensor]:
        """The network in training, a batch of all images, and their labels."""
        network = load_model("resnet34", self.weights)
        loader = DataLoader(PreparedImages(self.images, network.transform), len(self.images.files))
        x, labels = next(iter(loader))
        model = network.model.train().to(DTYPES[dtype])
        return model, x.to(DTYPES[dtype]), labels.clamp(min=0)


class Checkpointed(nn.Module):
    """A block of which only the input is kept."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = checkpoint(self.block, x, use_reentrant=False)
        return y


def checkpoint_blocks(model: nn.Module) -> None:
    for name in ("layer1", "layer2", "layer3", "layer4"):
        stage = model.get_submodule(name)
        assert isinstance(stage, nn.Sequential)
        for index, block in enumerate(stage):
            stage[index] = Checkpointed(block)


# ---- One process ---------------------------------------------------------------------------------


def work(connection: Any, source: Source, dtype: str, name: str, threads: int) -> None:
    """Trains a step whenever it is told to, and answers with what was measured."""
    torch.set_num_threads(threads)
    model, x, labels = source.prepared(dtype)
    method = METHODS[name]
    if method.checkpoints:
        checkpoint_blocks(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    before = reset_peak_memory()
    first = True
    while connection.recv():
        saving = contextlib.nullcontext() if method.saving is None else method.saving(model)
        if first and method.saving is None:
            saving = torch_ebpc.save_compressed(model, min_bytes=COUNT_ONLY, trim=False)
        first = False
        reset_peak_memory()
        begin = time.perf_counter()
        with saving:
            loss = nn.functional.cross_entropy(model(x).float(), labels)
        loss.backward()
        optimizer.step()
        seconds = time.perf_counter() - begin
        peak = peak_memory() - before
        digest = hashlib.sha256()
        for parameter in model.parameters():
            assert parameter.grad is not None
            digest.update(parameter.grad.view(torch.uint8).numpy())
        optimizer.zero_grad()
        answer = {
            "seconds": seconds,
            "peak_bytes": peak,
            "bits": (loss.item().hex(), digest.hexdigest()),
        }
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


def measure(source: Source, dtype: str, malloc: str, steps: int, threads: int) -> list[Row]:
    """A step of each method to get warm, then so many steps of all in turn."""
    rows = {name: Row(dtype, malloc, name) for name in METHODS}
    with (
        processes(source, dtype, malloc, list(rows), threads) as connections,
        tqdm(total=(steps + 1) * len(rows), desc=f"{dtype}, {malloc} malloc") as progress,
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
                if name != "save_on_cpu" and index == 0:
                    row.tensor_bytes = answer["tensor_bytes"]
                    row.stored_bytes = answer["stored_bytes"]
                if index > 0:
                    row.seconds.append(answer["seconds"])
                    row.peak_bytes.append(answer["peak_bytes"])
                progress.update()
            check_same(f"{dtype}, step {index}", bits)
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


# ---- Ratios --------------------------------------------------------------------------------------

CODES = {
    "N=16, sent": compressors.ebpc(16, "sent"),
    "N=8, sent": compressors.ebpc(8, "sent"),
    "N=16, reused": compressors.ebpc(16, "reused"),
    "zstd -1": compressors.zstd(1),
    "lz4": compressors.lz4_block(),
}


def saved_words(model: nn.Module, x: Tensor, labels: Tensor) -> list[tuple[str, Tensor]]:
    """The words of every tensor of 4096 bytes and more that a step saves, each memory once, and
    what made it. Parameters are left out."""
    seen: dict[tuple[int, int, Range], tuple[str, Tensor]] = {}
    parameters = {parameter.data_ptr() for parameter in model.parameters()}

    def see(tensor: Tensor) -> None:
        memory = range_of(tensor)
        if memory is None or memory.bytes < 4096 or tensor.data_ptr() in parameters:
            return
        # Tensors that are held here keep their addresses.
        key = (tensor.data_ptr(), tensor._version, memory)
        kind = f"{made_by(tensor)}, {str(tensor.dtype).removeprefix('torch.')}"
        seen.setdefault(key, (kind, words_of(tensor, memory).clone()))
        held.append(tensor.detach())

    held: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(see, lambda _: torch.empty(0)):
        nn.functional.cross_entropy(model(x).float(), labels)
    return list(seen.values())


def ratios(source: Source, dtype: str) -> list[dict[str, Any]]:
    """For each kind of saved tensor: its bytes, and those of its containers by each code."""
    sums: dict[str, dict[str, Any]] = {}
    saved = saved_words(*source.prepared(dtype))
    for kind, words in tqdm(saved, desc=f"ratios, {dtype}"):
        row = sums.setdefault(kind, {"network": dtype, "made_by": kind, "tensor_bytes": 0})
        row["tensor_bytes"] += words.nbytes
        for name, code in CODES.items():
            row[name] = row.get(name, 0) + code.size(code.compress(words))
    total = {"network": dtype, "made_by": "total"}
    for key in ("tensor_bytes", *CODES):
        total[key] = sum(row[key] for row in sums.values())
    return [*sums.values(), total]


# ---- Output --------------------------------------------------------------------------------------


def ratio_table(rows: list[dict[str, Any]], tablefmt: str = "simple") -> str:
    headers = [
        "network",
        "saved, by what made it",
        "tensor MB",
        *(f"{name} ratio" for name in CODES),
    ]
    lines = [
        [row["network"], row["made_by"], f"{row['tensor_bytes'] / 1e6:.2f}"]
        + [f"{row['tensor_bytes'] / row[name]:.2f}" for name in CODES]
        for row in rows
    ]
    return _table(lines, headers, 2, tablefmt)


def table(rows: list[Row], tablefmt: str = "simple") -> str:
    plain = {(row.dtype, row.malloc): row for row in rows if row.method == "plain"}
    headers = ["network", "method", "saved tensor MB", "stored MB", "peak MB", "of plain", "step s"]
    headers += ["of plain", "malloc"]
    lines = []
    for row in rows:
        reference = plain[row.dtype, row.malloc]
        peak, reference_peak = max(row.peak_bytes), max(reference.peak_bytes)
        median = statistics.median(row.seconds)
        lines.append(
            [
                row.dtype,
                row.method,
                "" if row.tensor_bytes is None else f"{row.tensor_bytes / 1e6:.0f}",
                "" if row.stored_bytes is None else f"{row.stored_bytes / 1e6:.0f}",
                f"{peak / 1e6:.0f}",
                f"{peak / reference_peak:.2f}",
                f"{median:.2f} ({min(row.seconds):.2f}-{max(row.seconds):.2f})",
                f"{median / statistics.median(reference.seconds):.2f}",
                row.malloc,
            ]
        )
    return _table(lines, headers, 2, tablefmt)


def _table(lines: list[list[str]], headers: list[str], names: int, tablefmt: str) -> str:
    alignment = ["left"] * names + ["right"] * (len(headers) - names)
    return str(tabulate(lines, headers, tablefmt, colalign=alignment, disable_numparse=True))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.bench.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all rows as JSON")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="a state dict (.pth)")
    add_untrained(parser)
    parser.add_argument("--images", type=Path, metavar="DIR", help="a folder of images")
    parser.add_argument("--batch", type=positive, default=16, help="images of a step (16)")
    parser.add_argument("--rounds", type=positive, default=3, help="steps that are timed (3)")
    parser.add_argument(
        "--threads", type=positive, default=torch.get_num_threads(), help="PyTorch's threads"
    )
    parser.add_argument("--mallocs", nargs="+", choices=MALLOCS, default=list(MALLOCS))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--ratios", action="store_true", help="the first table alone")
    options = parser.parse_args(arguments)

    try:
        network = load_model("resnet34", options.weights, untrained=options.untrained)
        images = spread(find_images(options.images), options.batch)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    information = machine() | {
        "network": network.name,
        "weights": network.weights,
        "weights_sha256": network.weights_sha256,
        "images": f"{images.origin}, {len(images.files)}",
        "images_sha256": images.sha256(),
        "threads": options.threads,
    }
    with tempfile.TemporaryDirectory() as folder:
        source = Source(Path(folder) / "resnet34.pth", images)
        torch.save(network.model.state_dict(), source.weights)
        of_kinds = [row for dtype in options.dtypes for row in ratios(source, dtype)]
        rows: list[Row] = []
        if not options.ratios:
            for malloc in options.mallocs:
                for dtype in options.dtypes:
                    rows += measure(source, dtype, malloc, options.rounds, options.threads)

    print("\n" + "; ".join(filter(None, (network.warning, network.name, network.weights))))
    print("; ".join(information[key] for key in ("images", "cpu", "date")))
    print("\n" + ratio_table(of_kinds))
    if rows:
        print("\n" + table(rows))
        print("loss and gradients of every step: the same bits as those of the plain run")
    if options.json:
        content = {
            "machine": information,
            "ratios": of_kinds,
            "rows": [dataclasses.asdict(row) for row in rows],
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        written(json.dumps(content, indent=1) + "\n", options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
