"""One measurement: a network, images, a meter; all options of it, and its report."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

import torch_ebpc
from evaluation.images import UNKNOWN, ImageSet, PreparedImages
from evaluation.models import LoadedModel
from torch_ebpc.ops import METHODS

FLOAT_DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How feature maps become words, and words bits. The defaults are the rule of the authors'
    released notebook: signed 8 bit, each layer's maximum over all images at 0.75 of full scale,
    truncated; N = 8, base sent."""

    dtype: Literal["fixed", "float16", "bfloat16", "float32"] = "fixed"
    bits: int = 8
    signed: bool = True
    rounding: Literal["nearest", "truncate"] = "truncate"
    scale: Literal["batch", "calibrated"] = "calibrated"
    headroom: float = 0.75
    block_size: int = 8
    max_zero_run: int = 16
    base: Literal["sent", "reused"] = "sent"
    methods: tuple[str, ...] = ("ebpc", "bpc", "zvc", "zero_rle")
    mode: Literal["insert", "observe"] = "insert"
    verify: bool = False
    batch_size: int = 25

    def words(self) -> torch_ebpc.Quantizer | torch_ebpc.FloatCast | None:
        if self.dtype == "fixed":
            return torch_ebpc.Quantizer(
                self.bits, self.signed, self.rounding, self.scale, self.headroom
            )
        return torch_ebpc.FloatCast(FLOAT_DTYPES[self.dtype])


@dataclasses.dataclass
class Accuracy:
    """Top-1, of the images whose class is known."""

    right: int = 0
    known: int = 0

    def add(self, output: torch.Tensor, labels: torch.Tensor) -> None:
        known = labels != UNKNOWN
        self.right += int((output.argmax(1) == labels)[known].sum())
        self.known += int(known.sum())

    def __str__(self) -> str:
        if self.known == 0:
            return "unknown (no labels)"
        return f"{100 * self.right / self.known:.1f} % ({self.right} of {self.known})"


@dataclasses.dataclass(frozen=True)
class Measurement:
    report: torch_ebpc.Report
    top1: Accuracy  # with what the meter did to the maps
    plain_top1: Accuracy | None  # of the calibration pass, where there was one


def measure(network: LoadedModel, images: ImageSet, settings: Settings) -> Measurement:
    """Runs all images through the network, once more beforehand where scales are calibrated, with a
    meter on every ReLU."""
    loader = DataLoader(PreparedImages(images, network.transform), settings.batch_size)

    def batches(what: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        with tqdm(total=len(images.files), desc=what, unit="image") as progress:
            for batch, labels in loader:
                yield batch, labels
                progress.update(len(batch))

    top1, plain_top1 = Accuracy(), None
    words = settings.words()
    with (
        torch.inference_mode(),
        torch_ebpc.CompressionMeter(
            network.model,
            torch.nn.ReLU,
            quantizer=words,
            mode=settings.mode,
            methods=settings.methods,
            block_size=settings.block_size,
            max_zero_run=settings.max_zero_run,
            base=settings.base,
            verify=settings.verify,
        ) as meter,
    ):
        if isinstance(words, torch_ebpc.Quantizer) and words.scale == "calibrated":
            plain_top1 = Accuracy()
            with meter.calibrate():
                for batch, labels in batches("calibrating"):
                    plain_top1.add(network.model(batch), labels)
        for batch, labels in batches("measuring"):
            top1.add(network.model(batch), labels)
        report = meter.report()

    report.title = "; ".join(filter(None, (network.warning, network.name)))
    report.provenance |= {
        "network": network.name,
        "weights": network.weights,
        "weights_sha256": network.weights_sha256,
        "images": str(images),
        "images_sha256": images.sha256(),
        "settings": dataclasses.asdict(settings),
        "top1": str(top1),
        "top1_without_compression": None if plain_top1 is None else str(plain_top1),
    }
    return Measurement(report, top1, plain_top1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of :class:`Settings`, and where images and weights come from."""
    default = Settings()
    source = parser.add_argument_group("network and images")
    source.add_argument("--weights", type=Path, metavar="FILE", help="a state dict (.pth)")
    source.add_argument(
        "--images", type=Path, metavar="DIR", help="a folder of images or of classes"
    )
    source.add_argument("--limit", type=positive, metavar="N", help="use the first N images only")
    source.add_argument("--batch-size", type=positive, default=default.batch_size)
    source.add_argument("--threads", type=positive, help="PyTorch's threads")

    words = parser.add_argument_group("words")
    words.add_argument(
        "--dtype",
        choices=["fixed", *FLOAT_DTYPES],
        default=default.dtype,
        help="fixed point, or maps by the bit pattern of a floating-point type",
    )
    words.add_argument("--bits", type=positive, default=default.bits, help="of fixed point")
    words.add_argument(
        "--signed", action=argparse.BooleanOptionalAction, default=default.signed,
        help="two's complement words",
    )  # fmt: skip
    words.add_argument("--rounding", choices=["nearest", "truncate"], default=default.rounding)
    words.add_argument(
        "--scale",
        choices=["batch", "calibrated"],
        default=default.scale,
        help="each layer's maximum from the batch, or from a pass over all images before",
    )
    words.add_argument(
        "--headroom", type=float, default=default.headroom,
        help="share of full scale that the maximum comes to",
    )  # fmt: skip

    code = parser.add_argument_group("code")
    code.add_argument("--block-size", type=positive, default=default.block_size)
    code.add_argument("--max-zero-run", type=positive, default=default.max_zero_run)
    code.add_argument("--base", choices=["sent", "reused"], default=default.base)
    code.add_argument("--methods", nargs="+", choices=METHODS, default=list(default.methods))
    code.add_argument("--mode", choices=["insert", "observe"], default=default.mode)
    code.add_argument("--verify", action="store_true", help="decode and compare every bit")


def settings_from(arguments: argparse.Namespace) -> Settings:
    fields = {field.name for field in dataclasses.fields(Settings)}
    values = {name: value for name, value in vars(arguments).items() if name in fields}
    return Settings(**(values | {"methods": tuple(arguments.methods)}))


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value
