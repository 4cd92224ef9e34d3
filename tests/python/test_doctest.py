"""The examples in docstrings do what they show. They use the names `torch` and `torch_ebpc`."""

from __future__ import annotations

import doctest
import importlib
import inspect
import operator
import pkgutil
import re

import pytest
import torch
from helpers import ROOT

import torch_ebpc

MODULES = ["torch_ebpc"] + [
    f"torch_ebpc.{module.name}"
    for module in pkgutil.iter_modules(torch_ebpc.__path__)
    if module.name != "__main__"  # a program
]


def examples_of(name: str) -> list[doctest.DocTest]:
    names = {"torch": torch, "torch_ebpc": torch_ebpc}
    found = doctest.DocTestFinder().find(importlib.import_module(name), extraglobs=names)
    return [test for test in found if test.examples]


EXAMPLES = [test for name in MODULES for test in examples_of(name)]


@pytest.mark.parametrize("test", EXAMPLES, ids=lambda test: test.name)
def test_the_example_shows_what_happens(test):
    output: list[str] = []
    doctest.DocTestRunner().run(test, out=output.append, clear_globs=False)
    assert not output, "".join(output)


# ---- Every public name -------------------------------------------------------------------------

PUBLIC = list(torch_ebpc.__all__)
for module in ("distributed", "hardware"):
    PUBLIC += [f"{module}.{name}" for name in getattr(torch_ebpc, module).__all__]
# What a function returns is shown where that function is.
SHOWN_ELSEWHERE = {
    "compression_report": "insert_compression",
    "distributed": "distributed.Transfer",
    "unpack": "pack",
}
CONSTANTS = {
    name for name in PUBLIC if isinstance(operator.attrgetter(name)(torch_ebpc), (int, str, tuple))
}
# Their example is the module's; it takes two processes, and so is none of a doctest.
TWO_PROCESSES = {f"distributed.{name}" for name in ("isend", "recv", "send")}


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - CONSTANTS - TWO_PROCESSES))
def test_a_public_name_has_a_docstring_with_an_example(name):
    value = operator.attrgetter(name)(torch_ebpc)
    assert value.__doc__
    value = operator.attrgetter(SHOWN_ELSEWHERE.get(name, name))(torch_ebpc)
    assert ">>> " in value.__doc__


@pytest.mark.parametrize("name", PUBLIC)
def test_all_methods_and_properties_of_a_public_class_have_docstrings(name):
    value = operator.attrgetter(name)(torch_ebpc)
    if not inspect.isclass(value):
        return
    for member, part in vars(value).items():
        function = getattr(part, "fget", None) or getattr(part, "__func__", part)
        if inspect.isfunction(function) and not member.startswith("_"):
            assert function.__doc__, f"{name}.{member}"


def test_all_public_names_stand_in_the_api_reference():
    pages = "".join(page.read_text() for page in (ROOT / "docs" / "api").glob("*.md"))
    documented = set(re.findall(r"^\.\. (?:auto|data)\w*:: (?:\w+\.)*(\w+)", pages, re.MULTILINE))
    assert {name.rsplit(".", 1)[-1] for name in PUBLIC} <= documented
