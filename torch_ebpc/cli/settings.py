"""What is measured of a model, and how, as options of a command line."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch_ebpc

FLOATS = (
    *("float16", "bfloat16", "float32"),
    *("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"),
)
_METHODS = "of ebpc, bpc, zvc, zero_rle, csc, none; the first is the one that tables are about"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How feature maps become words, and words bits. The defaults are the rule of the authors'
    released notebook: signed 8 bit, each layer's maximum over all images at 0.75 of full scale,
    truncated; N = 8, base sent."""

    dtype: str = "fixed"  # or "native", or a floating-point type of FloatCast
    bits: int = 8
    signed: bool = True
    rounding: Literal["nearest", "truncate"] = "truncate"
    scale: Literal["batch", "calibrated"] = "calibrated"
    headroom: float = 0.75
    affine: bool = False
    zero: float | None = None
    order: Literal["nchw", "nhwc"] = "nchw"
    block_size: int = 8
    max_zero_run: int = 16
    base: Literal["sent", "reused"] = "sent"
    methods: tuple[str, ...] = ("ebpc", "bpc", "zvc", "zero_rle")
    mode: Literal["insert", "observe"] = "insert"
    verify: bool = False
    batch_size: int = 25
    layers: tuple[str, ...] | None = None  # class names in torch.nn, or names of modules
    functions: tuple[str, ...] | None = None  # names in torch or torch.nn.functional
    of: Literal["outputs", "inputs"] = "outputs"

    def words(self) -> torch_ebpc.Quantizer | torch_ebpc.FloatCast | None:
        """Raises:
        ValueError: they are out of range.
        """
        import torch

        import torch_ebpc

        if self.dtype == "native":
            return None
        if self.dtype == "fixed":
            return torch_ebpc.Quantizer(
                self.bits, self.signed, self.rounding, self.scale, self.headroom, self.affine
            )
        return torch_ebpc.FloatCast(getattr(torch, self.dtype))


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
        choices=["fixed", *FLOATS, "native"],
        default=default.dtype,
        help="fixed point, or maps by the bit pattern of a floating-point type, or of their own",
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
    words.add_argument(
        "--affine", action="store_true",
        help="minimum and maximum at the ends of full scale, with a zero point",
    )  # fmt: skip
    words.add_argument(
        "--zero", type=_number, metavar="VALUE",
        help="the word that stands for 0 in maps of --dtype native, where they do not say it",
    )  # fmt: skip
    words.add_argument(
        "--order",
        choices=["nchw", "nhwc"],
        default=default.order,
        help="of the words of a map of images: row-major, or all channels of a pixel together",
    )

    code = parser.add_argument_group("code")
    code.add_argument("--block-size", type=positive, default=default.block_size)
    code.add_argument("--max-zero-run", type=positive, default=default.max_zero_run)
    code.add_argument("--base", choices=["sent", "reused"], default=default.base)
    code.add_argument(
        "--methods", nargs="+", default=default.methods, metavar="METHOD", help=_METHODS
    )
    code.add_argument("--mode", choices=["insert", "observe"], default=default.mode)
    code.add_argument("--verify", action="store_true", help="decode and compare every bit")


def settings_from(arguments: argparse.Namespace) -> Settings:
    fields = {field.name for field in dataclasses.fields(Settings)}
    values = {name: value for name, value in vars(arguments).items() if name in fields}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return Settings(**(values | lists))


def zero(text: str) -> float | str:
    """``"auto"``, or a number: an int where it is one, since large ones are no floats."""
    return text if text == "auto" else _number(text)


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value
