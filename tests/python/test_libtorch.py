"""Models with compression in them, in a C++ program: evaluation/libtorch."""

from __future__ import annotations

import re
import subprocess

import pytest
import torch
from helpers import ROOT, SMALL_CALLS, images, small_network
from torch import nn

import torch_ebpc
from evaluation.libtorch.program import BUILD, build
from torch_ebpc import Quantizer, compression_report, insert_compression

pytestmark = [
    pytest.mark.usefixtures("without_gradients"),
    pytest.mark.compiles,
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore::FutureWarning"),
]

LIBRARY = torch_ebpc._library.LIBRARY_PATH


@pytest.fixture(scope="module", autouse=True)
def _built():
    build()


def run(*arguments, program="run_model"):
    return subprocess.run(
        [BUILD / program, *arguments], capture_output=True, text=True, check=False
    )


def script(model, path):
    torch.jit.script(model).save(path)
    return path


def save(x, path):
    torch.save(x, path)
    return path


def table_of(printed):
    """Layer, values, zeros %, EBPC, ZVC and container ratio, as text."""
    lines = [line.split() for line in printed.splitlines()]
    return [line for line in lines if len(line) == 6 and line[1].isdigit()]


def rows_of(report):
    return [
        [
            row.name,
            str(row.values),
            f"{100 * row.zero_share:.1f}",
            f"{row.ratio('ebpc'):.2f}",
            f"{row.ratio('zvc'):.2f}",
            f"{row.container_ratio:.2f}",
        ]
        for row in [*report.rows, report.total()]
    ]


# ---- TorchScript ---------------------------------------------------------------------------------


@pytest.mark.parametrize("quantizer", [None, Quantizer(bits=8, scale="calibrated")], ids=repr)
def test_output_and_table_are_pythons(quantizer, tmp_path):
    x = images(3)
    inserted = insert_compression(small_network(), example_inputs=x, quantizer=quantizer)
    model = script(inserted, tmp_path / "model.pt")
    expected = save(inserted(x), tmp_path / "expected")
    output = tmp_path / "output"
    done = run(model, save(x, tmp_path / "x"), "--expect", expected, "--output", output)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("the output has the expected bits\n")
    report = compression_report(inserted)
    assert done.stdout.startswith(f"{report.heading()}\n")
    assert table_of(done.stdout) == rows_of(report)
    assert [row.name for row in report.rows] == SMALL_CALLS
    assert torch.equal(torch.load(output), torch.load(expected))


def test_one_bit_in_the_output_is_noticed(tmp_path):
    inserted = insert_compression(nn.Sequential(nn.ReLU()))
    expected = inserted(images())
    expected.view(torch.int32)[1, 2, 3, 4] ^= 1
    model = script(inserted, tmp_path / "model.pt")
    done = run(model, save(images(), tmp_path / "x"), "--expect", save(expected, tmp_path / "y"))
    assert done.returncode == 1
    assert done.stdout.endswith("the output does NOT have the expected bits\n")


def test_without_example_inputs_a_line_is_of_a_layer(tmp_path):
    inserted = insert_compression(small_network())
    model = script(inserted, tmp_path / "model.pt")
    done = run(model, save(images(), tmp_path / "x"))
    inserted(images())
    assert table_of(done.stdout) == rows_of(compression_report(inserted))
    assert [line[0] for line in table_of(done.stdout)] == ["1", "2.relu", "3.relu", "total"]


def test_a_model_without_compression_is_an_error(tmp_path):
    done = run(script(nn.Sequential(nn.ReLU()), tmp_path / "m.pt"), save(images(), tmp_path / "x"))
    assert (done.returncode, done.stderr) == (1, "the model has no compression in it\n")


def test_without_the_operators_it_does_not_load_until_they_are(tmp_path):
    model = script(insert_compression(nn.Sequential(nn.ReLU())), tmp_path / "model.pt")
    arguments = (model, save(images(), tmp_path / "x"))
    done = run(*arguments, program="run_model_without_operators")
    assert done.returncode == 1
    assert "Unknown builtin op: torch_ebpc::compress" in done.stderr
    done = run(*arguments, "--operators", LIBRARY, program="run_model_without_operators")
    assert done.returncode == 0, done.stderr
    assert table_of(done.stdout)[0][0] == "0"


def test_the_first_program_of_the_guide_prints_each_layers_ratio(tmp_path):
    folder = BUILD.with_name("first_program")
    build(ROOT / "tests" / "cmake" / "operators", folder)
    inserted = insert_compression(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()))
    model = script(inserted, tmp_path / "model.pt")
    printed = subprocess.check_output([folder / "first_program", model], text=True)
    assert re.fullmatch(r"\[2, 8, 30, 30\]\n1\.ebpc_calls: EBPC's ratio is [1-3]\.\d+\n", printed)


# ---- AOTInductor ---------------------------------------------------------------------------------


def test_an_aotinductor_package_runs_in_cpp(aotinductor_package, tmp_path):
    path, inserted = aotinductor_package
    x = images(5)  # the package was compiled with two
    torch_ebpc.reset_compression(inserted)
    expected = save(inserted(x), tmp_path / "expected")
    done = run(path, save(x, tmp_path / "x"), "--expect", expected)
    assert done.returncode == 0, done.stdout + done.stderr
    assert table_of(done.stdout) == rows_of(compression_report(inserted))

    done = run(path, tmp_path / "x", program="run_model_without_operators")
    assert done.returncode == 1
    assert re.search(
        "Could not find schema for torch_ebpc::(compress|count_bits|decompress)", done.stderr
    )
    done = run(path, tmp_path / "x", "--operators", LIBRARY, program="run_model_without_operators")
    assert done.returncode == 0, done.stderr
