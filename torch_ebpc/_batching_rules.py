"""What the operators do under torch.func.vmap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

# Their outputs' sizes depend on the data, so that those of several samples make no batch.
_WITHOUT_BATCHES = (
    "compress",
    "encode",
    "decode",
    "decompress",
    "open_container",
    "fingerprint",
    "statistics",
    "unpack",
)


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(info: Any, in_dims: Any, *arguments: Any) -> NoReturn:
        raise NotImplementedError(
            f"torch.ops.torch_ebpc.{name} cannot run under vmap: what it takes or returns has"
            " another size for every sample. Call it on the whole batch, or on each sample."
        )

    return refuse


def _by_transmission(name: str) -> Callable[..., Any]:
    """Every sample is a transmission of its own, and maybe many."""

    def run(
        info: Any,
        in_dims: tuple[int | None, ...],
        input: Tensor,
        method: str = "ebpc",
        word_bits: int | None = None,
        block_size: int = 8,
        max_zero_run: int = 16,
        base: str = "sent",
        transmission_dims: int = 0,
        zero: int = 0,
    ) -> tuple[Any, Any]:
        batch = input if in_dims[0] is None else input.movedim(in_dims[0], 0)
        out = getattr(torch.ops.torch_ebpc, name)(
            batch, method, word_bits, block_size, max_zero_run, base, transmission_dims + 1, zero
        )
        at = 1 if name == "count_methods" else 0
        return out, (at,) * len(out) if isinstance(out, tuple) else at

    return run


for _name in ("count_bits", "count_methods", "round_trip"):
    torch.library.register_vmap(f"torch_ebpc::{_name}", _by_transmission(_name))
for _name in _WITHOUT_BATCHES:
    torch.library.register_vmap(f"torch_ebpc::{_name}", _refusal(_name))
