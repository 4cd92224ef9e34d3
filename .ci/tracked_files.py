"""Refuses tracked files that are binary or large, but for those that are here with a reason.

    python .ci/tracked_files.py [CHECKOUT]

What is built belongs in .gitignore, and data in files that a reader of the project can look at.
"""

from __future__ import annotations

import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

MAX_BYTES = 500_000

# Binary or large, by pattern, and the bytes that they may have. Why they are here:
ALLOWED = {
    # Containers of each version of the format, byte for byte: later versions have to read them.
    "tests/golden/containers/*": 100_000,
    # Maps of a trained network, for machines that have neither its weights nor photographs.
    "evaluation/recorded/*": 6_000_000,
}


def git(checkout: Path, *arguments: str, asked: str = "") -> str:
    return subprocess.check_output(["git", "-C", checkout, *arguments], input=asked, text=True)


def complaints(checkout: Path) -> list[str]:
    found = []
    empty_tree = git(checkout, "hash-object", "-t", "tree", "/dev/null").strip()
    # What git calls binary has no numbers of lines.
    lines = git(checkout, "diff", "--cached", "--numstat", "-z", empty_tree).split("\0")[:-1]
    names = [line.split("\t", 2)[2] for line in lines]
    objects = "".join(f":{name}\n" for name in names)
    sizes = git(checkout, "cat-file", "--batch-check=%(objectsize)", asked=objects).split()
    for line, name, size in zip(lines, names, map(int, sizes), strict=True):
        limits = [limit for pattern, limit in ALLOWED.items() if fnmatchcase(name, pattern)]
        limit = max(limits, default=MAX_BYTES)
        if size > limit:
            found.append(f"{name}: expected at most {limit} bytes, found {size}")
        elif line.startswith("-") and not limits:
            found.append(f"{name}: expected text, found a binary file of {size} bytes")
    return found


def main() -> int:
    found = complaints(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    for each in found:
        print(each, file=sys.stderr)
    if found:
        print("If it belongs here, say why in .ci/tracked_files.py.", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
