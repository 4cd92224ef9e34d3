"""evaluation.bench.bit_equality: a part of it, and that it notices a changed bit."""

from __future__ import annotations

import contextlib

import torch
from torch.autograd.graph import saved_tensors_hooks

from evaluation.bench.bit_equality import Case, check, main


def test_nothing_is_different_in_a_part_of_all_cases(capsys):
    assert main(["--quick"]) == 0
    printed = capsys.readouterr().out
    assert "different:" not in printed
    assert "refused by ours:" not in printed
    lines = {line.split()[0]: line.split() for line in printed.splitlines()[2:] if line}
    groups = ["op_db", "recurrent", "attention", "TorchVision", "checkpoints", "compiled"]
    assert all(int(lines[group][1]) > 0 for group in groups)  # equal
    assert all(int(lines[group][-1]) > 0 for group in groups)  # packed


def squared(saving):
    x = torch.ones(3, requires_grad=True)
    with saving():
        y = x.exp().square()
    return torch.autograd.grad(y.sum(), x)


def test_a_bit_that_is_changed_is_noticed():
    def lie(x):
        return x + 1e-6

    def refuse(x):
        raise ValueError("no")

    cases = {
        "equal": lambda: saved_tensors_hooks(lambda x: x, lambda x: x),
        "different": lambda: saved_tensors_hooks(lambda x: x, lie),
        "refused by ours": lambda: saved_tensors_hooks(refuse, lambda x: x),
    }
    for kind, saving in cases.items():
        assert check(Case("group", "name", squared, saving)).kind == kind


def test_what_says_nothing_of_ours_is_counted_for_itself():
    runs = iter(range(2))
    rarely = iter((0, 0, 1, 0, 0, 2))  # without, twice; with; then without again
    found = [
        check(Case("group", "name", lambda saving: torch.tensor(next(runs)))),
        check(Case("group", "name", lambda saving: squared(None), contextlib.nullcontext)),
        check(Case("group", "name", lambda saving: torch.tensor(next(rarely)))),
    ]
    kinds = ["not repeatable", "refused by PyTorch", "not repeatable"]
    assert [each.kind for each in found] == kinds
