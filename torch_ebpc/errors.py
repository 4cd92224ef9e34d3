"""The exceptions of torch_ebpc, and how the operators' errors become them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class EBPCError(RuntimeError):
    """Base of all errors that are about compressed data."""


class EBPCFormatError(EBPCError):
    """What was given to decode is not a valid container or stream.

    The message says at which byte, what was expected and what was found.
    """


class EBPCChecksumError(EBPCError):
    """Bytes of a container have changed since they were written."""


class EBPCLimitError(EBPCError):
    """A container holds a larger tensor than the caller allows with ``max_bytes``."""


_BY_PREFIX: dict[str, type[Exception]] = {
    "EBPCFormatError: ": EBPCFormatError,
    "EBPCChecksumError: ": EBPCChecksumError,
    "EBPCLimitError: ": EBPCLimitError,
    "ValueError: ": ValueError,
    "TypeError: ": TypeError,
}


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raises an operator's RuntimeError as the exception that its message names at its beginning.

    The operators can only raise RuntimeError (they are called from TorchScript and C++ too), so
    ``csrc/torch/tensor_words.h`` puts the name in front of the message.
    """
    try:
        yield
    except RuntimeError as error:
        message = str(error)
        for prefix, exception in _BY_PREFIX.items():
            if message.startswith(prefix):
                raise exception(message.removeprefix(prefix)) from None
        raise
