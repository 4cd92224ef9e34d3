"""The parameters of the code as one value."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from helpers import about

import torch_ebpc
from torch_ebpc import Code

CODE = Code(7, 5, 4, "reused", -3)
PLAIN = dataclasses.asdict(CODE)
X = torch.randint(-9, 9, (3, 5000), dtype=torch.int8, generator=torch.Generator().manual_seed(0))


def streamed(**code):
    encoder = torch_ebpc.ContainerEncoder(X.shape, X.dtype, **code)
    payload = encoder.push(X)
    return torch.cat([encoder.finish(), payload])


def encoded(**code):
    streams = torch_ebpc.encode(X, **code)
    assert torch.equal(torch_ebpc.decode(streams), X)
    return {
        name: value.tolist() if isinstance(value, torch.Tensor) else value
        for name, value in vars(streams).items()
    }


FUNCTIONS = {
    "compress": lambda **code: torch_ebpc.compress(X, **code).tolist(),
    "encode": encoded,
    "count_bits": lambda **code: torch_ebpc.count_bits(X, **code),
    "count_transmission_bits": lambda **code: torch_ebpc.count_transmission_bits(
        X, transmission_dims=1, **code
    ).tolist(),
    "symbol_statistics": lambda **code: torch_ebpc.symbol_statistics(X, **code),
    "ContainerEncoder": lambda **code: streamed(**code).tolist(),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_code_is_its_parameters(function):
    assert function(code=CODE) == function(**PLAIN)
    assert function(code=Code()) == function()
    assert function(code=CODE) != function()


def test_a_file_is_written_with_a_code(tmp_path):
    torch_ebpc.write_file(tmp_path / "x", [X], X.shape, X.dtype, code=CODE)
    assert torch.equal(torch_ebpc.map_file(tmp_path / "x"), torch_ebpc.compress(X, **PLAIN))


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("name", PLAIN)
def test_a_code_and_one_of_its_parameters_are_refused(function, name):
    with pytest.raises(ValueError, match=about(f"{name} must not be given beside code")):
        function(code=CODE, **{name: PLAIN[name]})
    with pytest.raises(TypeError, match=about("code")):
        function(code=PLAIN)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("word_bits", 1, ValueError),
        ("block_size", 65, ValueError),
        ("block_size", True, TypeError),
        ("max_zero_run", 3, ValueError),
        ("base", "kept", ValueError),
        ("base", 1, TypeError),
        ("zero", "auto", TypeError),
    ],
)
def test_a_code_is_right_or_not_made(name, value, error):
    with pytest.raises(error, match=about(name)):
        Code(**{name: value})


def test_a_code_is_a_value():
    assert Code() == Code(None, 8, 16, "sent", 0)
    assert hash(CODE) == hash(Code(**PLAIN))
    with pytest.raises(dataclasses.FrozenInstanceError):
        CODE.base = "sent"
