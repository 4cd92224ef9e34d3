"""What the hooks cost, and that every evaluation can be started."""

from __future__ import annotations

import importlib.util
import pkgutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import evaluation
from evaluation.bench import overhead

PROGRAMS = [
    module.name
    for module in pkgutil.walk_packages(evaluation.__path__, "evaluation.")
    if "def main(" in Path(importlib.util.find_spec(module.name).origin).read_text()
]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_explains_itself_by_the_name_that_starts_it(name, capsys):
    with pytest.raises(SystemExit) as end:
        importlib.import_module(name).main(["--help"])
    assert end.value.code == 0
    assert f"usage: python -m {name.removesuffix('.__main__')} [-h]" in capsys.readouterr().out


def test_every_case_times_bare_and_measured_passes():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.ReLU())
    cases = [case for case in overhead.all_cases(threads=1) if case.batch <= 2]
    assert {case.mode for case in cases} == {"observe", "insert"}
    cases.append(overhead.Case("observe", layers=1, threads=1))
    overhead.measure(SimpleNamespace(model=model), torch.randn(2, 3, 8, 8), cases, rounds=2)
    for case in cases:
        assert len(case.seconds) == len(case.plain_seconds) == 2
    assert "1 of 2" in overhead.table(cases, modules=2)


def test_the_overhead_is_the_median_of_the_quotients_of_the_rounds():
    case = overhead.Case("observe", plain_seconds=[1.0, 2.0, 4.0, 1.0], seconds=[1.1, 2.4, 4.4, 4])
    assert case.overhead() == pytest.approx(15)
    assert case.overhead(0) == pytest.approx(10)
    assert case.overhead(100) == pytest.approx(300)
    case = overhead.Case("observe", plain_seconds=[1.0, 2.0], seconds=[0.5, 1.0])
    assert case.overhead() == pytest.approx(-50)
    assert "-50.0 (-50.0 to -50.0)" in overhead.table([case], modules=17)
