"""Whether anything changes under save_compressed, or under a meter that only measures: outputs and
gradients of training steps with and without, to the last bit.

Groups: PyTorch's own samples of its operators (op_db; in place too), recurrent networks, attention,
TorchVision's networks of every family, checkpoints, autocast, transforms, compiled blocks, two
processes under DistributedDataParallel, meters. Everything that autograd saves is compressed, small
or not ("forced"); recurrent networks, attention and TorchVision's also run with the defaults.

Each case runs without first, twice: what PyTorch refuses, and what differs already between these
two, says nothing of ours and is counted for itself. Then it runs with, and is equal, refused by an
error, or different, if a hundred more runs without never differ. The last makes this program fail.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from tqdm import tqdm

import torch_ebpc
from evaluation.bench.bit_equality_cases import Case, Saving, all_cases
from evaluation.common.tables import Table


@dataclasses.dataclass
class Counts:
    """What became of a group's cases: their names."""

    equal: list[str] = dataclasses.field(default_factory=list)
    refused_by_pytorch: list[str] = dataclasses.field(default_factory=list)
    not_repeatable: list[str] = dataclasses.field(default_factory=list)
    refused_by_ours: list[str] = dataclasses.field(default_factory=list)
    different: list[str] = dataclasses.field(default_factory=list)
    packed: int = 0  # ranges of memory that were compressed


def same_bits(found: Any, expected: Any) -> bool:
    """Of tensors in any nested containers, and None."""
    found, expected = tree_leaves(found), tree_leaves(expected)
    return len(found) == len(expected) and all(map(_same, found, expected))


def _same(found: Any, expected: Any) -> bool:
    if not isinstance(expected, Tensor) or not isinstance(found, Tensor):
        return type(found) is type(expected)
    if (found.dtype, found.shape, found.layout) != (
        expected.dtype,
        expected.shape,
        expected.layout,
    ):
        return False
    if found.layout == torch.sparse_coo:
        parts = [(each._indices(), each._values()) for each in (found, expected)]
        return all(map(_same, *parts))
    if found.layout != torch.strided:
        found, expected = found.to_dense(), expected.to_dense()
    return torch.equal(_bytes(found), _bytes(expected))


def _bytes(x: Tensor) -> Tensor:
    flat = x.detach().resolve_conj().resolve_neg().reshape(-1)
    return flat.new_empty(flat.shape).copy_(flat).view(torch.uint8)


def seeded(case: Case, saving: Saving) -> Any:
    torch.manual_seed(0)
    return case.run(saving)


def check(case: Case, counts: Counts) -> None:
    """Runs a case three times or more, and counts what became of it."""
    try:
        first, second = (seeded(case, contextlib.nullcontext) for _ in range(2))
    except Exception as error:
        counts.refused_by_pytorch.append(f"{case.name}: {_line(error)}")
        return
    if not same_bits(second, first):
        counts.not_repeatable.append(case.name)
        return
    savings = []

    def saving() -> contextlib.AbstractContextManager[Any]:
        savings.append(case.saving())
        return savings[-1]

    try:
        found = seeded(case, saving)
    except Exception as error:
        counts.refused_by_ours.append(f"{case.name}: {_line(error)}")
        return
    if same_bits(found, first):
        counts.equal.append(case.name)
    elif _repeats(case, first):
        counts.different.append(case.name)
    else:
        counts.not_repeatable.append(case.name)
    counts.packed += sum(
        each.report().total().packed
        for each in savings
        if isinstance(each, torch_ebpc.save_compressed)
    )


def _repeats(case: Case, first: Any) -> bool:
    """Whether many runs without, with other memory in use, have the same bits as well. In PyTorch
    2.13, those of torch.linalg.lstsq's gradient depend on where its memory lies."""
    memory = []
    for number in range(100):
        memory.append(torch.empty(17 * (number % 7) + 1))
        if not same_bits(seeded(case, contextlib.nullcontext), first):
            return False
    return True


def _line(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:160]}"


def check_all(cases: Iterable[Case]) -> dict[str, Counts]:
    groups: dict[str, Counts] = collections.defaultdict(Counts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's samples use much that is deprecated
        for case in tqdm(cases, desc="checking", unit="case", disable=None):
            check(case, groups[case.group])
    return groups


def table(groups: dict[str, Counts]) -> str:
    fields = [field.name for field in dataclasses.fields(Counts)]
    rows: list[list[Any]] = []
    for name, counts in groups.items():
        found = [getattr(counts, field) for field in fields]
        rows.append([name, *(len(each) if isinstance(each, list) else each for each in found)])
    sums = [sum(row[column] for row in rows) for column in range(1, len(fields) + 1)]
    rows.append(["total", *sums])
    return Table("", ["group", *(field.replace("_", " ") for field in fields)], rows).text()


def named(groups: dict[str, Counts], verbose: bool) -> Iterator[str]:
    """Every case that is not equal, with its group; what PyTorch refuses only if asked for."""
    kinds = ["different", "refused_by_ours", "not_repeatable"]
    for kind in kinds + ["refused_by_pytorch"] * verbose:
        for group, counts in groups.items():
            for name in getattr(counts, kind):
                yield f"{kind.replace('_', ' ')}: {group}: {name}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.bench.bit_equality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a part of it, in seconds")
    parser.add_argument("--groups", nargs="+", metavar="GROUP", help="these alone")
    parser.add_argument("--verbose", action="store_true", help="name what PyTorch refuses, too")
    options = parser.parse_args(arguments)

    cases = all_cases(options.quick)
    groups = check_all(case for case in cases if not options.groups or case.group in options.groups)
    print(table(groups))
    for line in named(groups, options.verbose):
        print(line)
    return 1 if any(counts.different for counts in groups.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
