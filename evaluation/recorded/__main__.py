"""Records the maps again, and says whether the file has them; with --write, writes it."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from evaluation.common.command_line import program
from evaluation.common.networks import data_folder
from evaluation.recorded import recording


def main(arguments: list[str] | None = None) -> int:
    parser = program("evaluation.recorded", __doc__)
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", default=data_folder() / "weights" / "resnet34.pth",
        help="a state dict of ResNet-34 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--write", action="store_true", help=f"write {recording.FILE}")
    options = parser.parse_args(arguments)
    try:
        content = recording.record(options.weights)
        if options.write:
            recording.write(content)
        found = recording.read()
    except OSError as error:
        parser.error(str(error))
    print(*(f"{name}: {text}" for name, text in found["provenance"].items()), sep="\n")
    print(
        f"{recording.FILE.name}: {recording.FILE.stat().st_size:,} bytes, {len(found['maps'])} maps"
    )
    different = [
        name
        for name, x in content["maps"].items()
        if name not in found["maps"] or not torch.equal(x, found["maps"][name])
    ]
    if different:
        print(f"not what is recorded now: {', '.join(different)}", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
