"""ResNet-34's total ratio at 8 bit under every setting of words and code, in one run."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import Counter
from pathlib import Path

import torch
from tabulate import tabulate
from torch.utils.data import DataLoader
from tqdm import tqdm

import torch_ebpc
from evaluation.common.inputs import find_inputs
from torch_ebpc.cli.images import PreparedImages

WORDS = [(signed, rounding) for signed in (True, False) for rounding in ("truncate", "nearest")]
CODES = list(itertools.product((8, 16), ("sent", "reused")))
HEADROOM = 0.75  # the authors' released notebook


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.paper.settings_table", description=__doc__
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="a folder of images")
    parser.add_argument("--limit", type=int, metavar="N", help="use the first N images only")
    options = parser.parse_args(arguments)
    network, images = find_inputs(folder=options.images)
    images = images.first(options.limit).readable()
    loader = DataLoader(PreparedImages(images, network.transform), batch_size=10)
    largest: Counter[str] = Counter()
    bits: Counter[tuple[object, ...]] = Counter()
    values = 0

    def calibrate(tap: torch_ebpc.Tap, x: torch.Tensor) -> None:
        largest[tap.name] = max(largest[tap.name], x.max().item())

    def count(tap: torch_ebpc.Tap, x: torch.Tensor) -> None:
        nonlocal values
        values += x.numel()
        for signed, rounding in WORDS:
            quantizer = torch_ebpc.Quantizer(8, signed, rounding, "calibrated", HEADROOM)
            words = quantizer.quantize(x, quantizer.scale_for(largest[tap.name]))
            for block_size, base in CODES:
                counted = torch_ebpc.count_transmission_bits(
                    words, "ebpc", None, block_size, 16, base, transmission_dims=1
                )
                bits[signed, rounding, block_size, base] += int(counted.sum())

    with torch.inference_mode():
        for callback in (calibrate, count):
            with torch_ebpc.Taps(network.model, callback):
                for batch, _ in tqdm(loader, desc=callback.__name__, unit="batch"):
                    network.model(batch)
    headers = ["code"]
    headers += [f"{'' if signed else 'un'}signed, {rounding}" for signed, rounding in WORDS]
    lines = [
        [f"N = {n}, base {base}"]
        + [f"{8 * values / bits[signed, rounding, n, base]:.3f}" for signed, rounding in WORDS]
        for n, base in CODES
    ]
    print(f"\n{network.warning or network.name}; weights: {network.weights}")
    print(f"{images}; maximum over them at {HEADROOM} of full scale")
    print(tabulate(lines, headers, tablefmt="github", disable_numparse=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
