"""What a training step saves, by the function that made it, and how small each code makes that."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from evaluation.bench.training_networks import Source, Training
from evaluation.common import compressors
from evaluation.common.tables import Table
from torch_ebpc._saved_memory import Range, range_of, words_of
from torch_ebpc.saved_tensors import made_by

CODES = {
    "auto": compressors.auto(),
    "N=16, sent": compressors.ebpc(16, "sent"),
    "N=8, sent": compressors.ebpc(8, "sent"),
    "N=16, reused": compressors.ebpc(16, "reused"),
    "zstd -1": compressors.zstd(1),
    "lz4": compressors.lz4_block(),
}


def saved_words(training: Training) -> list[tuple[str, Tensor]]:
    """The words of every tensor of 4096 bytes and more that a step saves, each memory once, and
    what made it. Parameters are left out."""
    seen: dict[tuple[int, int, Range], tuple[str, Tensor]] = {}
    parameters = {parameter.data_ptr() for parameter in training.model.parameters()}

    def see(tensor: Tensor) -> None:
        memory = range_of(tensor)
        if memory is None or memory.bytes < 4096 or tensor.data_ptr() in parameters:
            return
        # Tensors that are held here keep their addresses.
        key = (tensor.data_ptr(), tensor._version, memory)
        kind = f"{made_by(tensor)}, {str(tensor.dtype).removeprefix('torch.')}"
        seen.setdefault(key, (kind, words_of(tensor, memory).clone()))
        held.append(tensor.detach())

    held: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(see, lambda _: torch.empty(0)):
        training.loss()
    return list(seen.values())


def ratios(source: Source, dtype: str) -> list[dict[str, Any]]:
    """For each kind of saved tensor, and in total: its bytes, and those of its containers by each
    code."""
    rows = [
        {"made_by": kind, "tensor_bytes": words.nbytes}
        | {name: code.packed_bytes(words) for name, code in CODES.items()}
        for kind, words in tqdm(
            saved_words(source.prepared(dtype)), desc=f"{source.network}, {dtype}"
        )
    ]
    sums = pd.DataFrame(rows).groupby("made_by", sort=False).sum()
    sums.loc["total"] = sums.sum()
    found: list[dict[str, Any]] = sums.reset_index().assign(dtype=dtype).to_dict("records")
    return found


def table(rows: list[dict[str, Any]]) -> str:
    headers = ["dtype", "saved, by what made it", "tensor MB", *(f"{name} ratio" for name in CODES)]
    lines = [
        [row["dtype"], row["made_by"], row["tensor_bytes"] / 1e6]
        + [row["tensor_bytes"] / row[name] for name in CODES]
        for row in rows
    ]
    return Table("", headers, lines).text()
