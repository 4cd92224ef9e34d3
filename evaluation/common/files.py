"""Files of reports: none is ever there in part, and what is not the report's stays."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch_ebpc.files import named_errors
from torch_ebpc.report import written


@contextlib.contextmanager
def whole_files(folder: Path) -> Iterator[Path]:
    """An empty folder to write into. When all is written and has reached the disk, its files go
    into ``folder`` one by one, each in the place of what has its name there; all else in ``folder``
    stays. With an exception before that nothing in ``folder`` changes, and a kill at any moment
    leaves of each file the old one or the new one.

    Args:
        folder: made where it is missing. After a kill, ``.torch_ebpc.*.tmp`` may stay in it.

    Raises:
        OSError: a file cannot be written, with its name or the folder's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (
        named_errors(folder),
        tempfile.TemporaryDirectory(prefix=".torch_ebpc.", suffix=".tmp", dir=folder) as name,
    ):
        yield Path(name)
        paths = sorted(path for path in Path(name).rglob("*") if path.is_file())
        for path in paths:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        for path in paths:
            target = folder / path.relative_to(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)


def write_json(content: Any, path: Path) -> None:
    """Whole or not at all; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written(json.dumps(content, indent=1) + "\n", path)
