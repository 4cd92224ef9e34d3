"""A small network and small images for the tests of `evaluation.paper`; also run as a program:
``python paper_example.py IMAGES OUTPUT``, under torchrun as well."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from evaluation.common.inputs import find_images
from evaluation.paper.paper_report import run_record, write_report
from evaluation.paper.paper_study import Study, run_study
from evaluation.paper.passes import joined
from evaluation.paper.plan import EXTENTS
from evaluation.paper.presets import PRESETS
from torch_ebpc.cli.networks import LoadedModel

IMAGES = 23  # not a multiple of a unit
EXTENT = dataclasses.replace(
    EXTENTS["quick"], name="test", images_every=1, ablations_every=3, networks_every=4,
    gradients_every=2, symbols_every=5, networks=(), types=("fixed8", "ufixed8", "bfloat16"),
)  # fmt: skip
RULE = dataclasses.replace(PRESETS["notebook"].complete(), batch_size=7)


class Block(nn.Module):
    """Two calls of one in-place ReLU, with an addition between them, as in a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(6, 6, 3, padding=1) for _ in range(2))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.relu(self.conv1(x)))
        y += x
        return self.relu(y)


def tiny_network() -> LoadedModel:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(inplace=True), Block(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10),
    )  # fmt: skip
    if "SLOW_SECONDS" in os.environ:
        seconds = float(os.environ["SLOW_SECONDS"])
        model.register_forward_pre_hook(lambda module, arguments: time.sleep(seconds))
    return LoadedModel("tiny", model.eval(), to_tensor, "seed 0", "", trained=False)


def to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 - 0.5


def write_images(folder: Path, count: int = IMAGES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    lines = ["file,class_index"]
    for i in range(count):
        coarse = generator.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((21, 21)).save(folder / f"{i:02d}.png")
        lines.append(f"{i:02d}.png,{i % 10}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def measure(images: Path, output: Path, network: LoadedModel | None = None) -> Study | None:
    """The study of a network (by default the tiny one), and its report in ``output``; None on ranks
    that do not write one."""
    torch.set_num_threads(1)
    with joined() as ranks:
        work = output.with_name(f"{output.name}.work")
        study = run_study(network or tiny_network(), find_images(images), RULE, EXTENT, work, ranks)
        if not ranks.first:
            return None
        write_report(study, output, run_record(0.0, ranks.count))
        return study


def figures(output: Path) -> tuple[dict[str, object], str, bytes]:
    """What must be equal in two reports: everything but the record of the run."""
    content = json.loads((output / "report.json").read_text())
    del content["run"]
    page = (output / "report.html").read_text().partition("<summary>Provenance")[0]
    return content, page, (output / "counts.csv").read_bytes()


if __name__ == "__main__":
    measure(Path(sys.argv[1]), Path(sys.argv[2]))
