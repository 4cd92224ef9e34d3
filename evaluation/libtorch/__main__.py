"""ResNet-34 with compression after its ReLUs in a C++ program, on one image (`make libtorch`).

Inserts the compression, scripts and saves the network, builds the program and runs it: it prints
what each layer costs, and whether its output has the bits of Python's. First lossless, in float32;
then with maps of 8-bit words, by the rule of the authors' released notebook.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

import torch_ebpc
from evaluation.common.inputs import find_inputs
from evaluation.libtorch.program import BUILD, build
from torch_ebpc import Quantizer
from torch_ebpc.cli.images import PreparedImages

QUANTIZERS = {"float32": None, "fixed8": Quantizer(8, True, "truncate", "calibrated", 0.75)}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.libtorch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="a state dict (.pth)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="the first image in it is used")
    parser.add_argument("--output", type=Path, metavar="DIR", default=Path("reports/libtorch"))
    parser.add_argument(
        "--package", action="store_true",
        help="also as an AOTInductor package, which takes minutes to compile",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        network, images = find_inputs("resnet34", options.weights, options.images)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(f"weights: {network.weights}\nimage: {images.files[0].name}, {images.origin}")
    if network.warning:
        print(f"\n*** {network.warning} ***\n", file=sys.stderr)
    # AOTInductor takes strides for granted.
    image = PreparedImages(images, network.transform)[0][0].unsqueeze(0).contiguous()

    options.output.mkdir(parents=True, exist_ok=True)
    build()
    same = True
    with torch.no_grad():
        plain = network.model(image)
        for name, quantizer in QUANTIZERS.items():
            model = torch_ebpc.insert_compression(
                network.model, example_inputs=image, quantizer=quantizer
            )
            output = model(image)
            if quantizer is None and not torch.equal(output, plain):
                print("compression has changed the output", file=sys.stderr)
                same = False
            path = options.output / name
            print(f"\n{name}, TorchScript, in C++:", flush=True)
            same &= run(write_torchscript(model, image, output, path))
            if options.package:
                print(f"\n{name}, AOTInductor, in C++:", flush=True)
                same &= run(write_package(model, image, path))
    return 0 if same else 1


@dataclasses.dataclass(frozen=True)
class Files:
    """A model, an input, and the output that Python has computed from it."""

    model: Path
    image: Path
    expected: Path


def write_torchscript(model: nn.Module, image: Tensor, output: Tensor, path: Path) -> Files:
    with warnings.catch_warnings():  # which say that TorchScript is deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(model)
    torch_ebpc.reset_compression(scripted)
    scripted.save(path.with_suffix(".pt"))  # type: ignore[no-untyped-call]
    return _write_tensors(path.with_suffix(".pt"), image, output)


def write_package(model: nn.Module, image: Tensor, path: Path) -> Files:
    """The expected output is the package's own in Python: Inductor may sum in another order than
    eager mode."""
    torch_ebpc.reset_compression(model)
    batch = {0: torch.export.Dim("batch")}
    two = torch.cat([image, image])  # one would be taken for a constant
    program = torch.export.export(model, (two,), dynamic_shapes=(batch,))
    package = torch._inductor.aoti_compile_and_package(
        program, package_path=str(path.with_suffix(".pt2"))
    )
    output = torch._inductor.aoti_load_package(package)(image)
    eager = model(image)
    if (output - eager).abs().max() > 0.05 * eager.abs().max():
        raise RuntimeError(f"{package}: the output is not that of eager mode")
    return _write_tensors(Path(package), image, output)


def _write_tensors(model: Path, image: Tensor, output: Tensor) -> Files:
    files = Files(model, model.with_suffix(".image"), model.with_suffix(".expected"))
    torch.save(image, files.image)
    torch.save(output, files.expected)
    return files


def run(files: Files) -> bool:
    """Whether the program finds its output to have the expected bits. It prints its table."""
    command = [BUILD / "run_model", files.model, files.image, "--expect", files.expected]
    return subprocess.run([*map(str, command)], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
