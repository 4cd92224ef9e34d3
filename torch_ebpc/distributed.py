"""Tensors sent compressed from one process to another, for example between pipeline stages.

They work on :mod:`torch.distributed`'s process groups for CPU tensors (gloo). The receiver needs
to know neither shape nor dtype. A message is the container's length, an int64, and the container.

Example:
    In the process of rank 0, then in that of rank 1::

        transfer = torch_ebpc.distributed.send(x, dst=1)
        print(transfer.tensor_bytes, transfer.container_bytes, transfer.ratio)

        x, transfer = torch_ebpc.distributed.recv(src=0)
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from torch_ebpc import ops
from torch_ebpc._arguments import check_max_bytes
from torch_ebpc.errors import EBPCFormatError, EBPCLimitError

__all__ = ["isend", "recv", "send"]


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What a tensor's way from one process to another cost, in bytes.

    Example:
        >>> torch_ebpc.distributed.Transfer(tensor_bytes=1000, container_bytes=400).saved_bytes
        600
    """

    tensor_bytes: int  #: that sending it as it is would have cost
    container_bytes: int  #: that were sent; eight more say how many

    @property
    def saved_bytes(self) -> int:
        """Negative where compression gained nothing, at most by 1 % of the tensor and 260 bytes."""
        return self.tensor_bytes - self.container_bytes

    @property
    def ratio(self) -> float:
        """Bytes of the tensor / bytes of the container."""
        return self.tensor_bytes / self.container_bytes


class Sending:
    """A tensor on its way, as returned by :func:`isend`."""

    def __init__(self, works: list[Any], buffers: list[Tensor], transfer: Transfer) -> None:
        self._works = works
        self._buffers = buffers  # that must live until they have been sent
        self._transfer = transfer

    def wait(self) -> Transfer:
        """Waits until the tensor has left this process.

        Raises:
            RuntimeError: as :func:`torch.distributed.isend`, such as that the peer is gone.
        """
        for work in self._works:
            work.wait()
        self._buffers.clear()
        return self._transfer


def isend(
    x: Tensor,
    dst: int,
    group: dist.ProcessGroup | None = None,
    tag: int = 0,
    *,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    codec: str = "ebpc",
) -> Sending:
    """Compresses a tensor and begins to send it; ``x`` may be changed at once. As
    :func:`torch.distributed.isend`, it lets two stages send to each other at the same time.

    Args:
        x: a CPU tensor of any shape and of a dtype as for :func:`torch_ebpc.compress`.
        dst: the rank of the process that calls :func:`recv`.
        group, tag: as for :func:`torch.distributed.isend`. Messages of one tag come in the order
            in which they were sent.
        block_size, max_zero_run, base, codec: as for :func:`torch_ebpc.compress`.

    Raises:
        TypeError, ValueError: as :func:`torch_ebpc.compress`; or ``dst`` is this process, or no
            rank of the group.
    """
    packed = ops.compress(x, None, block_size, max_zero_run, base, codec)
    length = torch.tensor([packed.numel()], dtype=torch.int64, device="cpu")
    works = [dist.isend(part, dst, group, tag) for part in (length, packed)]
    return Sending(works, [length, packed], Transfer(x.nbytes, packed.numel()))


def send(
    x: Tensor,
    dst: int,
    group: dist.ProcessGroup | None = None,
    tag: int = 0,
    *,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    codec: str = "ebpc",
) -> Transfer:
    """Compresses a tensor and sends it, as :func:`isend`; returns when it has left this process,
    with what it cost.

    Raises:
        TypeError, ValueError: as :func:`isend`.
        RuntimeError: as :func:`torch.distributed.send`, such as that the peer is gone.
    """
    sending = isend(
        x,
        dst,
        group,
        tag,
        block_size=block_size,
        max_zero_run=max_zero_run,
        base=base,
        codec=codec,
    )
    return sending.wait()


def recv(
    src: int | None = None,
    group: dist.ProcessGroup | None = None,
    tag: int = 0,
    *,
    max_bytes: int | None = None,
) -> tuple[Tensor, Transfer]:
    """Receives a tensor that :func:`send` or :func:`isend` sent.

    Args:
        src: the rank of the sender; None: of whichever process sends first.
        group, tag: as for :func:`torch.distributed.recv`.
        max_bytes: a tensor of more bytes is refused, as in :func:`torch_ebpc.decompress`; a longer
            message than such a tensor can have, before memory is asked for. By default a container
            of any length is taken.

    Returns:
        The tensor, with the same dtype, shape, memory format and bits; and what it cost.

    Raises:
        EBPCFormatError, EBPCChecksumError: what came is not a container, or has changed.
        EBPCLimitError: the tensor has more than ``max_bytes`` bytes. Where its container was not
            received for that reason, no more can be received from that sender.
        RuntimeError: as :func:`torch.distributed.recv`, such as that the peer is gone.
    """
    check_max_bytes(max_bytes)
    length = torch.empty(1, dtype=torch.int64, device="cpu")
    sender = dist.recv(length, src, group, tag=tag)
    size = int(length)
    if size < 1:
        raise EBPCFormatError(f"message: expected the bytes of a container, found {size}")
    if max_bytes is not None and size > max_bytes + max_bytes // 100 + 256:
        raise EBPCLimitError(
            f"message: expected the container of a tensor of at most {max_bytes} bytes (max_bytes),"
            f" found {size} bytes"
        )
    packed = torch.empty(size, dtype=torch.uint8, device="cpu")
    dist.recv(packed, sender, group, tag=tag)
    x = ops.decompress(packed, max_bytes=max_bytes)
    return x, Transfer(x.nbytes, size)
