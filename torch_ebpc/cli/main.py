"""The entry point of ``torch-ebpc``: commands, messages and exit codes."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator

from torch_ebpc.cli.arguments import parser

ERROR = 2  # also what argparse exits with
INTERRUPTED = 130  # 128 + SIGINT, as of a shell
CLOSED_PIPE = 141  # 128 + SIGPIPE


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit code (see ``torch-ebpc --help``)."""
    options = parser().parse_args(arguments)
    try:
        with _interrupts_deferred():
            command = importlib.import_module(f"torch_ebpc.cli.{options.module}")
        code: int = getattr(command, options.function)(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # What stands in the buffer has nowhere to go; Python would try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except KeyboardInterrupt:
        print("torch-ebpc: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if options.debug:
            traceback.print_exc()
        else:
            print(f"torch-ebpc: error: {_message(error)}", file=sys.stderr)
        return ERROR


@contextlib.contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """For imports: a module that is interrupted half-way fails later, and says other things."""
    if threading.current_thread() is not threading.main_thread():
        yield  # interrupts go to the main thread
        return
    interrupts: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: interrupts.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupts:
        raise KeyboardInterrupt


def _message(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        package = {"PIL": "pillow"}.get(error.name or "", error.name)
        return f"this needs the package {package}, which is not installed: pip install {package}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, (ImportError, OSError, ValueError, TypeError, RuntimeError)):
        return str(error)
    # Nobody has expected it.
    return f"{type(error).__name__}: {error} (--debug shows where)"
