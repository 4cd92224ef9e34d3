"""The arguments of all commands. Imports nothing slow: help and usage errors come at once."""

from __future__ import annotations

import argparse
import importlib.metadata
from pathlib import Path

from torch_ebpc.cli.settings import add_arguments, positive, zero

_DESCRIPTION = """\
Lossless compression of tensors and feature maps by Extended Bit-Plane Compression (EBPC).
"""

_EPILOG = """\
"torch-ebpc COMMAND --help" shows a command's options and examples.

exit codes:
  0    done
  1    the answer is no: reports differ by more than --tolerance, or the self-test failed
  2    wrong arguments, or a file that cannot be read or written
  130  interrupted
  141  the reader of a pipe has gone
"""

_MEASURE = """\
examples:
  torch-ebpc measure resnet34 --images photos/
  torch-ebpc measure mobilenet_v2 --images photos/ --layers ReLU6 --bits 12 --csv layers.csv
  torch-ebpc measure vit_b_16 --images photos/ --layers GELU --dtype bfloat16 --plot ratios.svg
  torch-ebpc measure model.pt2 --images photos/ --functions relu --batch-size 1
  torch-ebpc measure speech.pt --inputs call.npz --functions relu
  torch-ebpc measure resnet34 --images photos/ --json - | torch-ebpc report - before.json

MODEL is a TorchVision classification network, or a file of torch.jit.save or torch.export.save,
which is a program: measure only what you would run. --layers takes class names of torch.nn and
names of modules; --functions names of torch and torch.nn.functional. Without both, all ReLU
modules are measured, in files all calls of relu; other activations of torch.nn that a network has
are named on standard error. The defaults are those of the papers' rule and not those of
CompressionMeter: the guide of the command line has the same lines in Python.

--inputs takes a .npy or .npz file, or one of torch.save, with the arguments of one call: a tensor,
a list or tuple of all arguments, or a dict of those by name. Of numpy.savez(file, x, y), x and y
are the arguments; arrays without dimensions are numbers.
"""

_COMPRESS = """\
examples:
  torch-ebpc compress maps.npy                      # maps.npy.ebpc
  torch-ebpc compress model.safetensors -o small.safetensors
  torch-ebpc compress *.npy --codec auto            # smaller, takes longer
  generate | torch-ebpc compress > maps.ebpc

A .npy file becomes a container, of which torch_ebpc.decompress reads single samples too. A .pt
file with a tensor or nested dicts, lists and tuples of tensors, and a .safetensors file, become
files of the same kind in which tensors are containers; those that it would not make smaller, or
whose dtype cannot be compressed, stay as they are. What a file is, its first bytes say.
"""

_DECOMPRESS = """\
examples:
  torch-ebpc decompress maps.npy.ebpc               # maps.npy
  torch-ebpc decompress bfloat16.ebpc -o map.pt
  torch-ebpc decompress < maps.ebpc | consume

A container becomes a .npy file, or a .pt file if the output's name ends in .pt or .pth. Damaged
files are refused; torch_ebpc.recover reads what is intact of a container.
"""

_INSPECT = """\
examples:
  torch-ebpc inspect maps.npy.ebpc
  torch-ebpc inspect model.safetensors              # what would compression gain?
  torch-ebpc inspect model.pt.ebpc --json | jq .tensors

Of compressed files it reads the headers alone. Of others it counts what compression would make of
each tensor: ratios against the dtype's width, in bits, before padding and without container.
"""

_REPORT = """\
examples:
  torch-ebpc report report.json
  torch-ebpc report before.json after.json
  torch-ebpc report before.json after.json --tolerance 0.01 --methods ebpc
  torch-ebpc report report.json --md report.md --plot report.png

The files are those of "measure --json" and of Report.to_json. With two, each row's ratios stand
side by side with their relative difference. With --tolerance, the exit code is 1 if one is larger,
or if a row is in one report alone.
"""

_DOCTOR = """\
examples:
  torch-ebpc doctor
  TORCH_EBPC_KERNEL=portable torch-ebpc doctor

The self-test encodes and decodes known words on every kernel of this CPU and compares every bit
with the golden ones. The exit code is 1 if it fails.
"""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Shows examples as they are written, and the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.help is None or action.default in (None, False, argparse.SUPPRESS, ()):
            return action.help
        default = action.default
        shown = " ".join(default) if isinstance(default, tuple) else "%(default)s"
        return f"{action.help} (default: {shown})"


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; what it returns has ``module`` and ``function`` to call."""
    root = argparse.ArgumentParser(
        prog="torch-ebpc", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=_Formatter
    )
    version = importlib.metadata.version("torch_ebpc")
    root.add_argument("--version", action="version", version=f"torch-ebpc {version}")
    everywhere = argparse.ArgumentParser(add_help=False)
    for each in (root, everywhere):
        each.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks"
        )
    root.set_defaults(debug=False)
    commands = root.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, module: str, help: str, epilog: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=help,
            description=f"{help[0].upper()}{help[1:]}.",
            epilog=epilog,
            formatter_class=_Formatter,
            parents=[everywhere],
        )
        added.set_defaults(module=module, function=name)
        return added

    _measure(command("measure", "measure", "what a model's feature maps cost", _MEASURE))
    _compress(
        command("compress", "tensors", "compress .npy, .pt and .safetensors files", _COMPRESS)
    )
    _decompress(command("decompress", "tensors", "bring compressed files back", _DECOMPRESS))
    _inspect(command("inspect", "inspection", "what is in a file, compressed or not", _INSPECT))
    _report(command("report", "reports", "show a report, or compare two", _REPORT))
    command("doctor", "doctor", "versions, kernels and a self-test", _DOCTOR)
    return root


def _measure(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help="a TorchVision network's name, or a file")
    add_arguments(command)
    source = command.add_argument_group("more about network and images")
    source.add_argument(
        "--inputs", type=Path, metavar="FILE", help="a model's arguments, in the place of --images"
    )
    source.add_argument(
        "--untrained",
        action="store_true",
        help="random weights, and batch normalization by each batch; ratios mean little then",
    )
    source.add_argument(
        "--prepare-as",
        metavar="NAME",
        default="resnet34",
        help="for a file: prepare images as for this TorchVision network",
    )
    what = command.add_argument_group("what is measured")
    what.add_argument("--layers", nargs="+", metavar="LAYER", help="class names or module names")
    what.add_argument("--functions", nargs="+", metavar="NAME", help="functional calls")
    what.add_argument("--of", choices=["outputs", "inputs"], default="outputs", help="of each call")
    _report_files(command)


def _report_files(command: argparse.ArgumentParser) -> None:
    files = command.add_argument_group("files of the report ('-': standard output, in its place)")
    files.add_argument("--csv", metavar="FILE", help="rows and total, in full precision")
    files.add_argument("--json", metavar="FILE", help="everything; 'report' reads it")
    files.add_argument("--md", metavar="FILE", help="table and provenance")
    files.add_argument("--html", metavar="FILE", help="one page to look at")
    files.add_argument("--plot", metavar="FILE", help="bars, as .png, .svg or .pdf")
    _force(files)


def _force(command: argparse._ActionsContainer) -> None:
    command.add_argument("--force", action="store_true", help="replace files that exist")


def _files(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "files",
        nargs="*",
        default=["-"],
        metavar="FILE",
        help="'-', or none: standard input",
    )
    command.add_argument(
        "-o", "--output", metavar="FILE", help="'-': standard output, as for standard input"
    )
    _force(command)
    command.add_argument("-q", "--quiet", action="store_true", help="no progress, no summary")


def _compress(command: argparse.ArgumentParser) -> None:
    _files(command)
    _max_bytes(command, "a .pt file's tensors")
    code = command.add_argument_group("code")
    code.add_argument(
        "--codec",
        choices=["ebpc", "auto"],
        default="ebpc",
        help="auto: the smallest of several codes for every 4096 words, without the last three",
    )
    code.add_argument(
        "--word-bits", type=positive, metavar="BITS", help="of a .npy file's words, if narrower"
    )
    code.add_argument("--block-size", type=positive, default=8, help="non-zero words in a block")
    code.add_argument(
        "--max-zero-run", type=positive, default=16, help="longest zero run of one symbol"
    )
    code.add_argument(
        "--base", choices=["sent", "reused"], default="sent", help="a block's first word"
    )
    code.add_argument(
        "--zero",
        type=zero,
        metavar="VALUE",
        help="what counts as zero: a value, or auto: what there is most of, of floats 0 and -0.0"
        " (default: auto; of .npy files, which are compressed in pieces, 0)",
    )


def _decompress(command: argparse.ArgumentParser) -> None:
    _files(command)
    _max_bytes(command, "tensors")


def _max_bytes(command: argparse._ActionsContainer, what: str) -> None:
    command.add_argument(
        "--max-bytes",
        type=_size,
        metavar="SIZE",
        help=f"refuse more bytes of {what}, such as 500M, 20G (default: 1G, or 64 times the file)",
    )


def _inspect(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "files", nargs="*", default=["-"], metavar="FILE", help="'-', or none: standard input"
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    _max_bytes(command, "a .pt file's tensors")


def _report(command: argparse.ArgumentParser) -> None:
    command.add_argument("first", metavar="REPORT", help="'-': standard input")
    command.add_argument("second", metavar="OTHER", nargs="?", help="to compare with the first")
    command.add_argument(
        "--tolerance", type=float, metavar="SHARE", help="largest relative difference of a ratio"
    )
    command.add_argument("--methods", nargs="+", metavar="METHOD", help="compare these alone")
    _report_files(command)


def _size(text: str) -> int:
    """Bytes, with a suffix for powers of 1024."""
    units = {"K": 10, "M": 20, "G": 30, "T": 40}
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if not number.isdigit() or unit not in ("", *units):
        raise argparse.ArgumentTypeError(f"must be bytes, such as 1000000, 500M or 20G, got {text}")
    return int(number) << units.get(unit, 0)
