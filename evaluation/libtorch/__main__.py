"""ResNet-34 with compression after its ReLUs in a C++ program, on one image (`make libtorch`).

Inserts the compression, scripts and saves the network, builds the program and runs it: it prints
what each layer costs, and whether its output has the bits of Python's. First lossless, in float32;
then with maps of 8-bit words, by the rule of the authors' released notebook.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

import torch_ebpc
from evaluation.common.command_line import add_inputs, open_inputs, program
from evaluation.libtorch.program import BUILD, build
from torch_ebpc import Quantizer
from torch_ebpc.cli.images import PreparedImages

QUANTIZERS = {"float32": None, "fixed8": Quantizer(8, True, "truncate", "calibrated", 0.75)}


def main(arguments: list[str] | None = None) -> int:
    parser = program("evaluation.libtorch", __doc__)
    add_inputs(parser, limit=1)
    parser.add_argument("--output", type=Path, metavar="DIR", default=Path("reports/libtorch"))
    parser.add_argument(
        "--package", action="store_true",
        help="also as an AOTInductor package, which takes minutes to compile",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    network, images = open_inputs(parser, options)
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
            same &= run(write_torchscript(model, path), image, output)
            if options.package:
                print(f"\n{name}, AOTInductor, in C++:", flush=True)
                same &= run(*write_package(model, image, path))
    return 0 if same else 1


def write_torchscript(model: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():  # which say that TorchScript is deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(model)
    torch_ebpc.reset_compression(scripted)
    scripted.save(path.with_suffix(".pt"))  # type: ignore[no-untyped-call]
    return path.with_suffix(".pt")


def write_package(model: nn.Module, image: Tensor, path: Path) -> tuple[Path, Tensor, Tensor]:
    """The expected output is the package's own in Python: Inductor may sum in another order than
    eager mode."""
    torch_ebpc.reset_compression(model)
    batch = {0: torch.export.Dim("batch")}
    two = torch.cat([image, image])  # one would be taken for a constant
    exported = torch.export.export(model, (two,), dynamic_shapes=(batch,))
    package = torch._inductor.aoti_compile_and_package(
        exported, package_path=str(path.with_suffix(".pt2"))
    )
    output = torch._inductor.aoti_load_package(package)(image)
    eager = model(image)
    if (output - eager).abs().max() > 0.05 * eager.abs().max():
        raise RuntimeError(f"{package}: the output is not that of eager mode")
    return Path(package), image, output


def run(model: Path, image: Tensor, output: Tensor) -> bool:
    """Whether the program finds its output to have the expected bits. It prints its table."""
    files = [model.with_suffix(suffix) for suffix in (".image", ".expected")]
    for x, file in zip((image, output), files, strict=True):
        torch.save(x, file)
    command = [BUILD / "run_model", model, files[0], "--expect", files[1]]
    return subprocess.run([*map(str, command)], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
