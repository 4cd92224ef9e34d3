"""The entry point of ``torch-ebpc``: commands, messages and exit codes."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator

from torch_ebpc.cli.arguments import parser
from torch_ebpc.cli.streams import message

ERROR = 2  # also what argparse exits with
INTERRUPTED = 130  # 128 + SIGINT, as of a shell
CLOSED_PIPE = 141  # 128 + SIGPIPE


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit code (see ``torch-ebpc --help``)."""
    for stream in (sys.stdout, sys.stderr):
        # Names that the terminal's encoding lacks are shown escaped.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
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
            print(f"torch-ebpc: error: {message(error)}", file=sys.stderr)
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
