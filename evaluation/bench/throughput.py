"""How fast tensors are compressed, decompressed and counted, beside what users have today.

One run measures all rows in turn, again and again in alternating order, so that a machine whose
speed drifts does not favour one of them; medians are given with their spread (the 10th and 90th
percentile). Every round trip is verified in the run. Speeds are in bytes of the uncompressed
tensor.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor
from tqdm import tqdm

import torch_ebpc
from evaluation.bench import builds
from evaluation.common import compressors
from evaluation.common.command_line import program
from evaluation.common.compressors import Compressor
from evaluation.common.files import write_json
from evaluation.common.inputs import batch_of, find_inputs, spread
from evaluation.common.machine import machine, peak_memory, reset_peak_memory, with_threads
from evaluation.common.tables import Table
from torch_ebpc.cli.images import ImageSet, PreparedImages
from torch_ebpc.cli.networks import LoadedModel
from torch_ebpc.report import save_figure


@dataclasses.dataclass(frozen=True)
class Data:
    """Tensors that are compressed one after the other."""

    name: str
    tensors: Sequence[Tensor]

    @property
    def bytes(self) -> int:
        return sum(x.nbytes for x in self.tensors)


@dataclasses.dataclass
class Row:
    """One method on one kind of data."""

    data: Data
    compressor: Compressor
    settings: str = ""
    kernel: str = ""  # of torch_ebpc; empty for others
    threads: int = 1
    count: Callable[[Tensor], Any] | None = None  # counts bits only
    seconds: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    packed_bytes: int = 0
    peak_bytes: int = 0  # of memory during compress, above what was there before it

    def speed(self, direction: str, percentile: float = 50) -> float:
        """Bytes a second."""
        # A high percentile of the speed is a low one of the time.
        return self.data.bytes / float(numpy.percentile(self.seconds[direction], 100 - percentile))

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.compressor.name, self.kernel, self.settings)))

    @property
    def ratio(self) -> float:
        return self.data.bytes / self.packed_bytes

    def as_dict(self) -> dict[str, Any]:
        return {
            "method": self.compressor.name,
            "kernel": self.kernel,
            "dtype": str(self.data.tensors[0].dtype).removeprefix("torch."),
            "settings": self.settings,
            "data": self.data.name,
            "threads": self.threads,
            **{
                f"{direction}_bytes_per_s{suffix}": self.speed(direction, percentile)
                for direction in self.seconds
                for suffix, percentile in (("", 50), ("_p10", 10), ("_p90", 90))
            },
            "ratio": self.ratio,
            "peak_bytes": self.peak_bytes,
        }


# ---- Data ----------------------------------------------------------------------------------------


def feature_maps(
    network: LoadedModel, images: ImageSet, layers: type[torch.nn.Module] = torch.nn.ReLU
) -> dict[str, Data]:
    """What all layers of a type in a network give for all images, by what the words are: 8-bit and
    16-bit fixed point (unsigned where nothing is negative), and floating-point bit patterns."""
    batch, _ = batch_of(PreparedImages(images, network.transform))
    maps: list[Tensor] = []
    taps = torch_ebpc.Taps(network.model, lambda tap, x: maps.append(x.clone()), [layers])
    with torch.inference_mode(), taps:
        network.model(batch)

    def fixed(bits: int, signed: bool) -> list[Tensor]:
        quantizer = torch_ebpc.Quantizer(bits, signed, "truncate", "batch", 0.75)
        return [quantizer.quantize(x, quantizer.scale_for(x.abs().max().item())) for x in maps]

    kinds = {
        "int8": fixed(8, True),
        **({"uint8": fixed(8, False)} if layers is torch.nn.ReLU else {}),
        "int16": fixed(16, True),
        "bfloat16": [x.bfloat16() for x in maps],
        "float16": [x.half() for x in maps],
        "float32": maps,
    }
    return {name: Data(f"maps {name}", tensors) for name, tensors in kinds.items()}


def synthetic(shapes: Sequence[torch.Size]) -> list[Data]:
    """8-bit tensors of these shapes at the ends of what there is."""
    generator = torch.Generator().manual_seed(0)
    random = [
        torch.randint(-128, 128, shape, dtype=torch.int8, generator=generator) for shape in shapes
    ]
    sparse = [x * (torch.rand(x.shape, generator=generator) < 0.02).to(torch.int8) for x in random]
    return [
        Data("all zero", [torch.zeros_like(x) for x in random]),
        Data("constant", [torch.full_like(x, 42) for x in random]),
        Data("2 % dense", sparse),
        Data("random", random),
    ]


# ---- Rows ----------------------------------------------------------------------------------------


def ebpc_row(
    data: Data,
    kernel: str,
    threads: int = 1,
    block_size: int = 8,
    base: str = "sent",
) -> Row:
    return Row(
        data,
        compressors.ebpc(block_size, base),
        f"N={block_size}, {base}",
        kernel,
        threads,
        lambda x: torch_ebpc.count_bits(x, "ebpc", None, block_size, 16, base),
    )


def all_rows(maps: dict[str, Data], quick: bool) -> list[Row]:
    kernels = torch_ebpc.kernels()
    best = kernels[0]
    int8 = maps["int8"]
    rows = [Row(int8, compressors.memcpy())]
    rows += [Row(int8, each) for each in compressors.software()]
    rows += [Row(int8, each) for each in compressors.numeric(torch.int8)]
    rows += [ebpc_row(int8, kernel) for kernel in kernels]
    rows += [ebpc_row(int8, best, threads=2)]
    if quick:
        return rows
    rows.append(Row(int8, compressors.auto(), kernel=best))
    for settings in ((16, "sent"), (8, "reused"), (16, "reused"), (4, "sent"), (32, "sent")):
        rows.append(ebpc_row(int8, best, 1, *settings))
    for name in ("uint8", "int16", "bfloat16", "float16", "float32"):
        rows += [Row(maps[name], compressors.zstd(1)), Row(maps[name], compressors.lz4_block())]
        rows.append(Row(maps[name], compressors.blosc("ZSTD", "SHUFFLE")))
        if name == "bfloat16":
            rows += [Row(maps[name], each) for each in compressors.numeric(torch.bfloat16)]
        rows += [ebpc_row(maps[name], best, 1, n, "sent") for n in (8, 16)]
        rows.append(ebpc_row(maps[name], best, 1, 16, "reused"))
        rows.append(Row(maps[name], compressors.auto(), kernel=best))
    for data in synthetic([x.shape for x in int8.tensors]):
        rows += [Row(data, compressors.memcpy()), ebpc_row(data, best)]
    return rows


# ---- Timing --------------------------------------------------------------------------------------


def measure(rows: Sequence[Row], rounds: int) -> None:
    for row in tqdm(rows, desc="verifying", unit="row"):
        verify(row)
    for index in tqdm(range(rounds), desc="measuring", unit="round"):
        for row in rows if index % 2 == 0 else reversed(rows):
            time_row(row)


@contextlib.contextmanager
def running(row: Row) -> Iterator[None]:
    """With the row's kernel and threads."""
    with with_threads(row.threads), torch_ebpc.use_kernel(row.kernel or torch_ebpc.kernel()):
        yield


def verify(row: Row) -> None:
    """One round trip, bit by bit; and its size and memory."""
    with running(row):
        before = reset_peak_memory()
        packed = [row.compressor.compress(x) for x in row.data.tensors]
        row.peak_bytes = peak_memory() - before
        row.packed_bytes = sum(map(compressors.size_of, packed))
        for x, each in zip(row.data.tensors, packed, strict=True):
            y = row.compressor.decompress(each, x)
            if not torch.equal(x.view(torch.uint8), y.view(torch.uint8)):
                raise AssertionError(f"{row.compressor.name} does not give {row.data.name} back")


def time_row(row: Row) -> None:
    with running(row):
        begin = time.perf_counter()
        packed = [row.compressor.compress(x) for x in row.data.tensors]
        compressed = time.perf_counter()
        for x, each in zip(row.data.tensors, packed, strict=True):
            row.compressor.decompress(each, x)
        decompressed = time.perf_counter()
        row.seconds.setdefault("compress", []).append(compressed - begin)
        row.seconds.setdefault("decompress", []).append(decompressed - compressed)
        if row.count is not None:
            for x in row.data.tensors:
                row.count(x)
            row.seconds.setdefault("count", []).append(time.perf_counter() - decompressed)


# ---- Random access -------------------------------------------------------------------------------


def random_access(least_bytes: int, shape: tuple[int, ...], rounds: int, samples: int = 200) -> str:
    """What it takes to read samples anywhere in a container of at least so many bytes, whose reader
    is open, and the same ones out of containers of their own: medians, and that of the quotients.

    Raises:
        AssertionError: a sample is not what its own container gives.
    """
    generator = torch.Generator().manual_seed(0)
    some = torch.randn((64, *shape), generator=generator).relu_().mul_(32).to(torch.int8)
    repeats = -(-least_bytes // torch_ebpc.compress(some).numel())
    packed = torch_ebpc.compress(some.repeat(repeats, *[1] * len(shape)))
    container = torch_ebpc.Container(packed)
    indices = torch.randint(len(container), (samples,), generator=generator).tolist()
    alone = [torch_ebpc.compress(some[index % len(some)]) for index in indices]
    for index, each in zip(indices, alone, strict=True):
        if not torch.equal(container[index], torch_ebpc.decompress(each)):
            raise AssertionError(f"sample {index} is not what a container of its own gives")

    def read_together() -> None:
        for index in indices:
            container[index]

    def read_alone() -> None:
        for each in alone:
            torch_ebpc.decompress(each)

    seconds = numpy.zeros((2, rounds))  # for all samples
    ways = list(enumerate((read_together, read_alone)))
    for index in range(rounds):
        for way, read in ways[:: 1 if index % 2 == 0 else -1]:
            begin = time.perf_counter()
            read()
            seconds[way, index] = time.perf_counter() - begin
    each, of_its_own = 1e3 * numpy.median(seconds, axis=1) / samples
    return (
        f"a sample {'x'.join(map(str, shape))} of a container of {packed.numel() / 2**20:.0f} MiB:"
        f" {each:.3f} ms, of one of its own: {of_its_own:.3f} ms,"
        f" {numpy.median(seconds[0] / seconds[1]):.2f} times"
    )


# ---- Output --------------------------------------------------------------------------------------


def table(rows: Sequence[Row]) -> str:
    """All rows, with speeds also as multiples of zstd -1's on the same data in the same run."""
    references = {row.data.name: row for row in rows if row.compressor.name == "zstd -1"}

    def speed(row: Row, direction: str) -> list[str]:
        low, median, high = (row.speed(direction, p) / 1e9 for p in (10, 50, 90))
        reference = references.get(row.data.name)
        times = row.speed(direction) / reference.speed(direction) if reference else None
        return [f"{median:.2f} ({low:.2f}-{high:.2f})", f"{times:.2f}" if times else ""]

    headers = ["data", "method", "threads", "ratio", "compress GB/s", "x zstd -1"]
    headers += ["decompress GB/s", "x zstd -1", "count GB/s", "peak MB"]
    lines = []
    for row in rows:
        count = row.speed("count") / 1e9 if row.count else None
        line = [row.data.name, row.name, row.threads, row.ratio]
        line += [*speed(row, "compress"), *speed(row, "decompress"), count]
        lines.append([*line, f"{row.peak_bytes / 1e6:.0f}"])
    return Table("", headers, lines).text()


# Filled for EBPC, open for what users have today.
FILLED, OPEN = "os^vD<>ph8P", ["x", "+", "1", "2", "3", "4", "|", "_", "."]


def plot(rows: Sequence[Row], path: Path, title: str = "") -> None:
    """Speed against ratio of all methods on the 8-bit maps, one thread."""
    from matplotlib.figure import Figure

    filled, others = itertools.cycle(FILLED), itertools.cycle(OPEN)
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    directions = ("compress", "decompress")
    panels = figure.subplots(1, len(directions), sharex=True, sharey=True)
    for row in rows:
        if row.data.name != "maps int8" or row.threads != 1:
            continue
        marker = next(filled if row.kernel else others)
        for axes, direction in zip(panels, directions, strict=True):
            axes.plot(row.ratio, row.speed(direction) / 1e9, marker, color="black", label=row.name)
    for axes, direction in zip(panels, directions, strict=True):
        axes.set_yscale("log")
        axes.set_title(direction)
        axes.set_xlabel("compression ratio (bytes of the tensor / bytes stored)")
    panels[0].set_ylabel("GB/s of uncompressed bytes, one thread")
    figure.suptitle("\n".join(filter(None, ("8-bit ReLU maps of ResNet-34", title))))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    with torch_ebpc.files.whole_file(path) as file:
        save_figure(figure, file, path.suffix.removeprefix("."))


def main(arguments: list[str] | None = None) -> int:
    parser = program("evaluation.bench.throughput", __doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all rows as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also plot speed against ratio")
    parser.add_argument("--images", type=int, default=16, help="of which maps are taken")
    parser.add_argument("--rounds", type=int, default=9, help="how often each row is timed")
    parser.add_argument("--quick", action="store_true", help="8-bit maps and main settings only")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="LIBRARY",
        help="compare with another build instead: a folder with a built package torch_ebpc in it",
    )
    parser.add_argument(
        "--random-access",
        type=int,
        metavar="MIB",
        help="instead, read single samples of a container of that size, beside containers of their"
        " own",
    )
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    if options.random_access:
        for shape in ((64, 56, 56), (3, 224, 224)):  # whole segments, and not
            print(random_access(options.random_access << 20, shape, options.rounds))
        return 0
    network, images = find_inputs()
    images = spread(images, options.images)
    maps = feature_maps(network, images)
    if options.against:
        compared = {name: maps[name].tensors for name in ("int8", "bfloat16")}
        print(builds.table(builds.compare(compared, options.against, options.rounds)))
        return 0
    rows = all_rows(maps, options.quick)
    measure(rows, options.rounds)
    information = machine() | {"weights": network.weights, "images": str(images)}
    print("\n" + "; ".join(filter(None, (network.warning, network.name, network.weights))))
    print("; ".join(information[key] for key in ("images", "cpu", "date")))
    print(table(rows))
    if options.json:
        content = {"machine": information, "rows": [row.as_dict() for row in rows]}
        write_json(content, options.json)
    if options.plot:
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        plot(rows, options.plot, network.warning)
    return 0


if __name__ == "__main__":
    sys.exit(main())
