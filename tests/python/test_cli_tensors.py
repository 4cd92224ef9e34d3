"""``torch-ebpc`` and files that are out of the ordinary: tensors of every kind, files that grow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import array, error_of, state
from safetensors.torch import load_file, save_file

import torch_ebpc
from torch_ebpc.cli.main import main

pytestmark = pytest.mark.usefixtures("in_folder")


# ---- Tensors of every kind -----------------------------------------------------------------------

EYE = torch.eye(4)
KINDS = {
    "coo": lambda: EYE.to_sparse(),
    "coo of bytes": lambda: EYE.to(torch.uint8).to_sparse(),
    "csr": lambda: EYE.to_sparse_csr(),
    "csc": lambda: EYE.to_sparse_csc(),
    "bsr": lambda: EYE.to_sparse_bsr((2, 2)),
    "nested": lambda: torch.nested.nested_tensor([torch.zeros(2, 3), torch.zeros(1, 3)]),
    "meta": lambda: torch.zeros(100, device="meta"),
    "conjugated": lambda: torch.ones(4, dtype=torch.complex64).conj(),
}
HELD_BYTES = {
    "coo": 4 * 4 + 2 * 4 * 8,
    "coo of bytes": 4 + 2 * 4 * 8,
    "csr": 4 * 4 + (5 + 4) * 8,
    "csc": 4 * 4 + (5 + 4) * 8,
    "bsr": 2 * 4 * 4 + (3 + 2) * 8,
    "nested": 3 * 3 * 4,
    "meta": 0,
    "conjugated": 4 * 8,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_that_cannot_be_packed_is_kept_and_shown_with_its_bytes(capsys, kind):
    torch.save({"w": torch.zeros(9000), "x": KINDS[kind]()}, "x.pt")
    assert main(["compress", "x.pt"]) == 0, capsys.readouterr().err
    assert main(["decompress", "x.pt.ebpc", "-o", "y.pt"]) == 0
    capsys.readouterr()
    assert main(["inspect", "x.pt", "x.pt.ebpc", "--json"]) == 0
    for found in json.loads(capsys.readouterr().out):
        assert found["tensors"][1]["bytes"] == HELD_BYTES[kind]
        assert found["total"]["bytes"] == 36_000 + HELD_BYTES[kind]
    assert main(["inspect", "x.pt"]) == 0
    assert "as it is" in capsys.readouterr().out
    found = torch.load("y.pt", weights_only=True)["x"]
    assert (found.dtype, found.layout) == (KINDS[kind]().dtype, KINDS[kind]().layout)


def test_the_total_of_inspect_is_over_all_tensors(capsys):
    torch.save({"w": torch.zeros(9000), "b": torch.eye(1800).to_sparse()}, "x.pt")
    assert main(["inspect", "x.pt", "--json"]) == 0
    total = json.loads(capsys.readouterr().out)["total"]
    assert (total["bytes"], total["counted_bytes"]) == (72_000, 36_000)
    for method, bits in total["counted_bits"].items():
        assert total["bits"][method] == bits + 8 * 36_000
    assert main(["inspect", "x.pt"]) == 0
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert last[1:3] == ["72,000", f"{8 * 72_000 / total['bits']['ebpc']:.2f}"]


def test_the_ratio_of_a_file_that_grows_is_below_1_both_ways(capsys):
    save_file({"x": torch.empty(0), "s": torch.tensor(1.0)}, "x.safetensors")
    assert main(["compress", "x.safetensors"]) == 0
    assert capsys.readouterr().err.endswith(": 124 -> 164 bytes, ratio 0.76 (larger than before)\n")
    assert main(["decompress", "x.safetensors.ebpc", "-o", "y.safetensors"]) == 0
    assert capsys.readouterr().err.endswith(": 164 -> 124 bytes, ratio 0.76\n")


@pytest.mark.parametrize(("descr", "size"), [("<V2", 2), ("<V1", 1), ("<f1", 1)])
def test_an_array_of_ml_dtypes_is_refused_with_what_to_do(capsys, descr, size):
    with open("x.npy", "wb") as file:
        header = {"descr": descr, "fortran_order": False, "shape": (3,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(3 * size))
    assert main(["compress", "x.npy"]) == 2
    message = error_of(capsys)
    assert message.startswith("x.npy: ")
    assert "if bfloat16, save array.view('uint16')" in message
    assert not Path("x.npy.ebpc").exists()


def test_a_cut_pt_file_is_named_as_such(capsys):
    torch.save(state(), "x.pt")
    Path("x.pt").write_bytes(Path("x.pt").read_bytes()[:-200])
    assert main(["compress", "x.pt"]) == 2
    assert error_of(capsys) == (
        "x.pt: expected a file of torch.save, found only the beginning of one"
    )


@pytest.mark.parametrize("target", ["", "folder"])
def test_an_output_that_is_no_file_is_refused(capsys, target):
    Path("folder").mkdir()
    np.save("x.npy", array("int8"))
    assert main(["compress", "x.npy", "-o", target, "--force"]) == 2
    assert error_of(capsys) == f"expected the name of a file to write, got {target!r}"


# ---- Zeros ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("zero", "found"), [("-128", -128), ("auto", -128), (None, 0)])
def test_an_npy_file_has_the_zero_that_is_asked_for(zero, found):
    x = torch.randn(9000).relu().mul(16).clamp(max=255).sub(128).to(torch.int8)
    np.save("x.npy", x.numpy())
    arguments = [] if zero is None else ["--zero", zero]
    assert main(["compress", "x.npy", *arguments]) == 0
    assert torch_ebpc.inspect(torch_ebpc.map_file("x.npy.ebpc")).zero == found
    assert main(["decompress", "x.npy.ebpc", "-o", "y.npy"]) == 0
    assert np.array_equal(np.load("y.npy"), x.numpy())


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("zero", ["auto", "0"])
def test_pruned_weights_in_files_are_as_small_as_they_can_be(suffix, zero):
    x = torch.randn(20_000)
    x = x * (x.abs() > 1.5)
    save = torch.save if suffix == "pt" else save_file
    save({"w": x}, f"x.{suffix}")
    assert main(["compress", f"x.{suffix}", "--zero", zero, "-o", "asked"]) == 0
    assert main(["compress", f"x.{suffix}", "-o", "plain"]) == 0
    larger = Path("asked").stat().st_size - Path("plain").stat().st_size
    assert larger == 0 if zero == "auto" else larger > 5000
    assert main(["decompress", "plain", "-o", f"y.{suffix}"]) == 0
    y = torch.load("y.pt") if suffix == "pt" else load_file("y.safetensors")
    assert torch.equal(y["w"].view(torch.int32), x.view(torch.int32))


def test_a_zero_that_is_no_value_is_refused_by_name(capsys):
    np.save("x.npy", np.zeros(9, np.uint8))
    assert main(["compress", "x.npy", "--zero", "-1"]) == 2
    assert error_of(capsys).startswith("x.npy: zero ")
    with pytest.raises(SystemExit):
        main(["compress", "x.npy", "--zero", "all"])
    assert "argument --zero: invalid zero value: 'all'" in capsys.readouterr().err
