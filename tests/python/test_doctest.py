"""The examples in docstrings do what they show. They use the names `torch` and `torch_ebpc`."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import torch

import torch_ebpc

MODULES = ["torch_ebpc"] + [
    f"torch_ebpc.{module.name}"
    for module in pkgutil.iter_modules(torch_ebpc.__path__)
    if module.name not in ("libtorch_ebpc", "__main__")  # no Python module; a program
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


def test_what_users_call_first_has_an_example():
    names = {test.name.rsplit(".", 1)[-1] for test in EXAMPLES}
    assert {"compress", "inspect", "encode", "count_bits", "CompressionMeter"} <= names
