"""What a choice by segment gains: `codec="auto"` beside fixed settings and general compressors.

On what ReLU layers and convolutions of ResNet-34 give, as 8-bit and 16-bit fixed point and as
floating-point bit patterns. Ratios are of bytes, whole container included. Speeds are medians, in
bytes of the uncompressed tensors, of one thread; all of them are measured in turns in one run.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections import Counter

import torch
from tqdm import tqdm

import torch_ebpc
from evaluation.bench import throughput
from evaluation.bench.throughput import Data, Row
from evaluation.common import compressors
from evaluation.common.command_line import program
from evaluation.common.compressors import Compressor
from evaluation.common.inputs import find_inputs, spread
from evaluation.common.machine import machine
from evaluation.common.tables import Table
from evaluation.recorded.network import RecordedModel
from torch_ebpc.container import CODINGS

LAYERS: dict[str, type[torch.nn.Module]] = {
    "ReLU": torch.nn.ReLU,
    "convolution": torch.nn.Conv2d,
}
FIXED = [
    (block_size, base, max_zero_run)
    for base, block_size, max_zero_run in itertools.product(
        ("sent", "reused"), (8, 16, 32), (4, 16, 64)
    )
]
DEFAULT = (8, "sent", 16)


@dataclasses.dataclass(frozen=True)
class Choice:
    """All methods on one kind of data."""

    data: Data
    best: tuple[int, str, int]  # of FIXED, on this data
    rows: dict[str, Row]
    codings: Counter[str]  # words


def packed_bytes(data: Data, compressor: Compressor) -> int:
    return sum(map(compressor.packed_bytes, data.tensors))


def choice_for(data: Data) -> Choice:
    sizes = {setting: packed_bytes(data, compressors.ebpc(*setting)) for setting in FIXED}
    best = min(sizes, key=lambda setting: sizes[setting])
    kernel = torch_ebpc.kernels()[0]
    rows = {
        "default": Row(data, compressors.ebpc(*DEFAULT), kernel=kernel),
        "best fixed": Row(data, compressors.ebpc(*best), kernel=kernel),
        "auto": Row(data, compressors.auto(), kernel=kernel),
        "zstd -1": Row(data, compressors.zstd(1)),
        "zstd -3": Row(data, compressors.zstd(3)),
        "lz4": Row(data, compressors.lz4_block()),
    }
    codings: Counter[str] = Counter()
    for x in data.tensors:
        for count in torch_ebpc.inspect(torch_ebpc.compress(x, codec="auto")).codings:
            codings[count.coding] += count.words
    return Choice(data, best, rows, codings)


def tables(choices: list[Choice]) -> str:
    """Ratios, speeds, and how often each coding is chosen, in Markdown."""
    methods = list(choices[0].rows)
    codings = [name for name in CODINGS["auto"] if any(each.codings[name] for each in choices)]
    ratios, speeds, shares = [], [], []
    for choice in choices:
        name, rows = choice.data.name, choice.rows.values()
        ratios.append([name, *(row.ratio for row in rows), best_name(choice)])
        ways = [[row.speed(way) / 1e9 for way in ("compress", "decompress")] for row in rows]
        speeds.append([name, *(f"{to:.2f} / {back:.2f}" for to, back in ways)])
        words = choice.codings.total()
        shares.append([name, *(f"{100 * choice.codings[each] / words:.0f}" for each in codings)])
    found = (
        Table("", ["ratio", *methods, "the best fixed"], ratios, digits=3),
        Table("", ["GB/s, compress / decompress", *methods], speeds),
        Table("", ["words coded as, %", *codings], shares),
    )
    return "\n\n".join(table.text("github") for table in found)


def best_name(choice: Choice) -> str:
    block_size, base, max_zero_run = choice.best
    return f"N = {block_size}, {base}, R = {max_zero_run}"


def main(arguments: list[str] | None = None) -> int:
    parser = program("evaluation.bench.choice", __doc__)
    parser.add_argument("--images", type=int, default=16, help="of which maps are taken")
    parser.add_argument("--rounds", type=int, default=5, help="how often each row is timed")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    network, images = find_inputs()
    images = spread(images, options.images)
    choices = []
    for layers, module in LAYERS.items():
        if isinstance(network, RecordedModel) and module is not torch.nn.ReLU:
            continue  # only what ReLUs give is recorded
        maps = throughput.feature_maps(network, images, module)
        named = [dataclasses.replace(data, name=f"{layers} {kind}") for kind, data in maps.items()]
        found = [choice_for(data) for data in tqdm(named, desc=layers, unit="kind")]
        throughput.measure([row for each in found for row in each.rows.values()], options.rounds)
        choices += found
    information = machine()
    print(f"\n{network.warning or network.name}; weights: {network.weights}")
    print(f"{images}; {information['cpu']}; {information['date']}\n")
    print(tables(choices))
    return 0


if __name__ == "__main__":
    sys.exit(main())
