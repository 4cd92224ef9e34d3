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

import contextlib
import sys
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from tqdm import tqdm

import torch_ebpc
from evaluation.bench.bit_equality_cases import Case, Saving, all_cases
from evaluation.common.command_line import program
from evaluation.common.tables import Table

KINDS = ("equal", "refused by PyTorch", "not repeatable", "refused by ours", "different")


class Result(NamedTuple):
    """What became of a case."""

    group: str
    name: str
    kind: str  # of KINDS
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


def check(case: Case) -> Result:
    """Runs a case three times or more."""
    try:
        first, second = (seeded(case, contextlib.nullcontext) for _ in range(2))
    except Exception as error:
        return Result(case.group, f"{case.name}: {_line(error)}", "refused by PyTorch")
    if not same_bits(second, first):
        return Result(case.group, case.name, "not repeatable")
    savings = []

    def saving() -> contextlib.AbstractContextManager[Any]:
        savings.append(case.saving())
        return savings[-1]

    try:
        found = seeded(case, saving)
    except Exception as error:
        return Result(case.group, f"{case.name}: {_line(error)}", "refused by ours")
    kind = "equal"
    if not same_bits(found, first):
        kind = "different" if _repeats(case, first) else "not repeatable"
    ours = [each for each in savings if isinstance(each, torch_ebpc.save_compressed)]
    packed = sum(each.report().total().packed for each in ours)
    return Result(case.group, case.name, kind, packed)


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


def check_all(cases: Iterable[Case]) -> list[Result]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's samples use much that is deprecated
        return [check(case) for case in tqdm(cases, desc="checking", unit="case", disable=None)]


def table(results: list[Result]) -> str:
    """How many of each group are of each kind."""
    frame = pd.DataFrame(results)
    found = pd.crosstab(frame["group"], frame["kind"]).reindex(columns=KINDS, fill_value=0)
    found = found.loc[frame["group"].unique()].join(frame.groupby("group")["packed"].sum())
    found.loc["total"] = found.sum()
    rows = [[group, *row] for group, row in zip(found.index, found.values.tolist(), strict=True)]
    return Table("", ["group", *found.columns], rows).text()


def main(arguments: list[str] | None = None) -> int:
    parser = program("evaluation.bench.bit_equality", __doc__)
    parser.add_argument("--quick", action="store_true", help="a part of it, in seconds")
    parser.add_argument("--groups", nargs="+", metavar="GROUP", help="these alone")
    parser.add_argument("--verbose", action="store_true", help="name what PyTorch refuses, too")
    options = parser.parse_args(arguments)

    cases = all_cases(options.quick)
    results = check_all(
        case for case in cases if not options.groups or case.group in options.groups
    )
    print(table(results))
    shown = set(KINDS) - {"equal"} - (set() if options.verbose else {"refused by PyTorch"})
    for result in results:
        if result.kind in shown:
            print(f"{result.kind}: {result.group}: {result.name}")
    return 1 if any(result.kind == "different" for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
