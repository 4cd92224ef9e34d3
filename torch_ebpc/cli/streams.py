"""Where a command reads and writes: files that appear whole or not at all, and pipes."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch_ebpc
from torch_ebpc.files import named_errors, whole_file

PIPE = "-"


def shown(name: str, of: str = "input") -> str:
    """A file's name as messages have it."""
    return f"standard {of}" if name == PIPE else name


def check_source(name: str) -> None:
    """Raises:
    ValueError: it is standard input and that is a terminal.
    """
    if name == PIPE and sys.stdin.isatty():
        raise ValueError("give a FILE, or data on standard input, which is a terminal")


@contextlib.contextmanager
def opened_source(name: str) -> Iterator[Path]:
    """A file that can be read at any place: of standard input and other pipes, all of it in a
    temporary one."""
    check_source(name)
    with contextlib.ExitStack() as stack:
        if name == PIPE:
            source: BinaryIO = sys.stdin.buffer
        else:
            source = stack.enter_context(open(name, "rb"))
            if stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                yield Path(name)
                return
        file = stack.enter_context(_temporary_file())
        shutil.copyfileobj(source, file)
        file.flush()
        yield Path(file.name)


@contextlib.contextmanager
def _temporary_file() -> Iterator[BinaryIO]:
    folder = tempfile.gettempdir()
    with named_errors(folder), tempfile.NamedTemporaryFile(prefix="torch-ebpc-") as file:
        yield file  # type: ignore[misc]


def check_target(name: str, *, force: bool) -> None:
    """Raises:
    FileExistsError: the file exists and is not to be replaced.
    FileNotFoundError: there is no folder for it.
    IsADirectoryError: it is a folder.
    ValueError: it is standard output and that is a terminal.
    """
    if name == PIPE:
        if sys.stdout.isatty():
            raise ValueError("give --output FILE, or a pipe: standard output is a terminal")
    elif not name or os.path.isdir(name):
        raise IsADirectoryError(f"expected the name of a file to write, got {name!r}")
    elif os.path.lexists(name) and not force:
        raise FileExistsError(f"{name} exists already; --force replaces it")
    elif not Path(name).absolute().parent.is_dir():
        raise FileNotFoundError(f"{name}: there is no folder {Path(name).parent}")


@contextlib.contextmanager
def opened_target(name: str, *, force: bool) -> Iterator[BinaryIO]:
    """A file to write, with a name, that appears when all has been written. What is for standard
    output goes there then too, so that no reader takes a part for the whole.

    Raises:
        FileExistsError, FileNotFoundError, ValueError: as :func:`check_target`.
        OSError: it cannot be written.
    """
    check_target(name, force=force)
    if name != PIPE:
        with whole_file(name) as file:
            yield file
        return
    with _temporary_file() as temporary:
        yield temporary
        temporary.flush()
        with open(temporary.name, "rb") as written, named_errors(shown(PIPE, "output")):
            shutil.copyfileobj(written, sys.stdout.buffer)
            sys.stdout.buffer.flush()


@contextlib.contextmanager
def progress(what: str, total: int, *, quiet: bool) -> Iterator[Any]:
    """A bar on standard error that counts bytes, where that is a terminal."""
    from tqdm import tqdm

    disable = True if quiet else None
    with tqdm(total=total, desc=what, unit="B", unit_scale=True, disable=disable) as bar:
        yield bar


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Begins the messages of errors with the file's name.

    Raises:
        ValueError: in the place of any error but those of packages that are missing and those of
            the system; the latter get the file's name where they have none.
    """
    try:
        with named_errors(shown(name)):
            yield
    except (ImportError, OSError):
        raise
    except Exception as error:
        limited = isinstance(error, torch_ebpc.EBPCLimitError)
        hint = "; --max-bytes allows more" if limited else ""
        raise ValueError(f"{shown(name)}: {message(error)}{hint}") from error


def message(error: Exception) -> str:
    """What an error says, in one line; with its type where the error is unexpected."""
    if isinstance(error, ModuleNotFoundError):
        package = {"PIL": "pillow"}.get(error.name or "", error.name)
        return f"this needs the package {package}, which is not installed: pip install {package}"
    if isinstance(error, OSError) and error.strerror:
        name = "''" if error.filename == "" else error.filename
        return error.strerror if name is None else f"{name}: {error.strerror}"
    text = " ".join(str(error).split("\n"))
    if isinstance(error, (ImportError, OSError, ValueError, TypeError, RuntimeError)):
        return text
    return f"{type(error).__name__}: {text} (--debug shows where)"
