"""What the hooks cost, and that every evaluation can be started."""

from __future__ import annotations

import importlib
import pkgutil
from types import SimpleNamespace

import pytest
import torch

import evaluation
from evaluation import overhead

MODULES = [module.name for module in pkgutil.walk_packages(evaluation.__path__, "evaluation.")]


@pytest.mark.parametrize("name", MODULES)
def test_an_evaluation_can_be_imported(name):
    importlib.import_module(name)


def test_every_case_times_bare_and_measured_passes():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.ReLU())
    cases = [case for case in overhead.all_cases(threads=1) if case.batch <= 2]
    assert {case.mode for case in cases} == {"observe", "insert"}
    cases.append(overhead.Case("observe", layers=1, threads=1))
    overhead.measure(SimpleNamespace(model=model), torch.randn(2, 3, 8, 8), cases, rounds=2)
    for case in cases:
        assert len(case.seconds) == len(case.plain_seconds) == 2
        assert case.overhead(0) <= case.overhead() <= case.overhead(100)
    assert "1 of 2" in overhead.table(cases, modules=2)
