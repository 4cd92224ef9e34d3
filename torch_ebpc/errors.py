"""The exceptions of torch_ebpc, and how the operators' errors become them."""

from __future__ import annotations

from types import TracebackType


class EBPCError(RuntimeError):
    """Base of all errors that are about compressed data.

    Example:
        >>> try:
        ...     torch_ebpc.decompress(torch.zeros(100, dtype=torch.uint8))
        ... except torch_ebpc.EBPCError as error:
        ...     print(type(error).__name__)
        EBPCFormatError
    """


class EBPCFormatError(EBPCError):
    """What was given to decode is not a valid container or stream.

    The message says at which byte, what was expected and what was found.

    Example:
        >>> torch_ebpc.inspect(torch.zeros(100, dtype=torch.uint8))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        torch_ebpc.errors.EBPCFormatError: container at byte 0 (magic): expected ...
    """


class EBPCChecksumError(EBPCError):
    """Bytes of a container have changed since they were written.

    Example:
        >>> packed = torch_ebpc.compress(torch.randn(100))
        >>> packed[-1] ^= 1
        >>> torch_ebpc.decompress(packed)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        torch_ebpc.errors.EBPCChecksumError: container at byte 68 (segment 0): checksum expected ...
    """


class EBPCLimitError(EBPCError):
    """A container holds a larger tensor than the caller allows with ``max_bytes``.

    Example:
        >>> packed = torch_ebpc.compress(torch.zeros(1000))
        >>> torch_ebpc.decompress(packed, max_bytes=100)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        torch_ebpc.errors.EBPCLimitError: the container holds a tensor of 4000 bytes, ...
    """


_BY_PREFIX: dict[str, type[Exception]] = {
    "EBPCFormatError: ": EBPCFormatError,
    "EBPCChecksumError: ": EBPCChecksumError,
    "EBPCLimitError: ": EBPCLimitError,
    "ValueError: ": ValueError,
    "TypeError: ": TypeError,
}


class translated:  # noqa: N801 - used as a function that returns a context
    """Raises an operator's RuntimeError as the exception that its message names at its beginning.

    The operators can only raise RuntimeError (they are called from TorchScript and C++ too), so
    ``csrc/torch/tensor_words.h`` puts the name in front of the message.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, RuntimeError):
            message = str(error)
            for prefix, exception in _BY_PREFIX.items():
                if message.startswith(prefix):
                    raise exception(message.removeprefix(prefix)) from None
