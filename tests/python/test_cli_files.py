"""``torch-ebpc compress``, ``decompress`` and ``inspect``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Pipe, array, assert_same_bits, error_of, feature_map, special_values, state
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import torch_ebpc
from torch_ebpc.cli.main import main

NUMPY_DTYPES = (
    *("int8", "uint8", "int16", "uint16", "int32", "float16", "float32"),
    *("bool", "uint32", "int64", "uint64", "float64", "complex64", "complex128"),
)


pytestmark = pytest.mark.usefixtures("in_folder")


def assert_same_state(found, expected):
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        assert (found[name].dtype, found[name].shape) == (x.dtype, x.shape), name
        as_bytes = [each.flatten().view(torch.uint8) for each in (found[name], x)]
        assert torch.equal(*as_bytes), name


# ---- .npy ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", NUMPY_DTYPES)
def test_an_npy_file_comes_back_with_every_byte(dtype):
    np.save("x.npy", array(dtype))
    original = Path("x.npy").read_bytes()
    assert main(["compress", "x.npy", "--base", "reused", "--block-size", "16"]) == 0
    packed = torch_ebpc.map_file("x.npy.ebpc")
    x = torch.from_numpy(np.load("x.npy"))
    assert torch.equal(packed, torch_ebpc.compress(x, block_size=16, base="reused"))
    Path("x.npy").unlink()
    assert main(["decompress", "x.npy.ebpc"]) == 0
    assert Path("x.npy").read_bytes() == original


@pytest.mark.parametrize(
    "x",
    [
        np.float32(-0.0),
        np.zeros((0, 3), np.int8),
        np.zeros((2, 0), np.uint16),
        array("int16")[0, 0],
        special_values(torch.float32).numpy(),
    ],
    ids=["0-d", "empty", "empty rows", "one row", "special values"],
)
def test_any_shape_and_value_comes_back(x):
    np.save("x.npy", x)
    original = Path("x.npy").read_bytes()
    assert main(["compress", "x.npy"]) == 0
    assert main(["decompress", "x.npy.ebpc", "-o", "y.npy"]) == 0
    assert Path("y.npy").read_bytes() == original


def test_an_array_in_fortran_order_comes_back_with_its_values():
    np.save("x.npy", np.asfortranarray(array("int8")))
    assert main(["compress", "x.npy"]) == 0
    assert main(["decompress", "x.npy.ebpc", "-o", "y.npy"]) == 0
    np.testing.assert_array_equal(np.load("y.npy"), np.load("x.npy"))


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_array_goes_through_in_parts(monkeypatch, order):
    from torch_ebpc.cli import formats

    monkeypatch.setattr(formats, "_PART_WORDS", 5000)
    np.save("x.npy", np.asarray(array("int8", (30, 1000)), order=order))
    assert main(["compress", "x.npy"]) == 0
    x = torch.from_numpy(np.load("x.npy"))
    assert torch.equal(torch_ebpc.map_file("x.npy.ebpc"), torch_ebpc.compress(x))


def test_narrower_words_are_taken_by_their_bits():
    np.save("x.npy", array("int16") % 100)
    assert main(["compress", "x.npy", "--word-bits", "9"]) == 0
    assert torch_ebpc.inspect(torch_ebpc.map_file("x.npy.ebpc")).word_bits == 9


def test_a_container_becomes_a_pt_file_where_its_name_says_so(capsys):
    x = feature_map(torch.bfloat16, (5, 6))
    torch_ebpc.write_file("x.ebpc", [x], x.shape, x.dtype)
    assert main(["decompress", "x.ebpc", "-o", "x.pt"]) == 0
    assert_same_bits(torch.load("x.pt", weights_only=True), x)
    capsys.readouterr()
    assert main(["decompress", "x.ebpc"]) == 2
    assert error_of(capsys) == "x.ebpc: NumPy has no bfloat16: give --output NAME.pt"
    assert not Path("x.npy").exists()


# ---- .pt and .safetensors ------------------------------------------------------------------------


def test_a_safetensors_file_comes_back_with_names_dtypes_bits_and_metadata():
    save_file(state(), "m.safetensors", {"format": "pt", "who": "me"})
    assert main(["compress", "m.safetensors"]) == 0
    packed = load_file("m.safetensors.ebpc")  # what reads such files opens it
    assert packed["weight"].dtype == torch.uint8
    assert torch_ebpc.inspect(packed["weight"]).shape == (40, 50)
    assert packed["steps"].dtype == torch.int64
    assert packed["bias"].dtype == torch.bfloat16
    assert main(["decompress", "m.safetensors.ebpc", "-o", "n.safetensors"]) == 0
    assert_same_state(load_file("n.safetensors"), state())
    with safe_open("n.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "who": "me"}  # in whatever order it was written
    assert Path("n.safetensors").stat().st_size == Path("m.safetensors").stat().st_size


def test_a_safetensors_file_without_metadata_gets_none():
    save_file(state(), "m.safetensors")
    assert main(["compress", "m.safetensors", "-o", "p"]) == 0
    assert main(["decompress", "p", "-o", "n.safetensors"]) == 0
    with safe_open("n.safetensors", "pt") as file:
        assert file.metadata() is None
    # With several entries of metadata their order would be any.
    assert Path("n.safetensors").read_bytes() == Path("m.safetensors").read_bytes()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_comes_back_with_its_structure(zipped):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    model[1].weight.data.zero_()
    content = {
        "model": model.state_dict(),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "groups": [{"lr": 0.1}]},
        "more": [state(), None, "text", (1, 2.5)],
    }
    torch.save(content, "c.pt", _use_new_zipfile_serialization=zipped)
    assert main(["compress", "c.pt"]) == 0
    assert torch.load("c.pt.ebpc", weights_only=True)["torch_ebpc_packed"] == 1
    assert main(["decompress", "c.pt.ebpc", "-o", "d.pt"]) == 0
    found = torch.load("d.pt", weights_only=True)
    assert type(found["model"]) is type(content["model"])
    assert_same_state(found["model"], content["model"])
    assert found["model"]._metadata == content["model"]._metadata
    assert found["optimizer"]["groups"] == [{"lr": 0.1}]
    assert found["optimizer"]["state"][0]["step"] == 3
    assert_same_state(found["more"][0], state())
    assert found["more"][1:] == [None, "text", (1, 2.5)]
    torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)).load_state_dict(
        found["model"]
    )


def test_a_pt_file_with_one_tensor_comes_back():
    x = feature_map(torch.float16, (2, 3, 400))
    torch.save(x, "x.pt")
    assert main(["compress", "x.pt"]) == 0
    assert main(["decompress", "x.pt.ebpc", "-o", "y.pt"]) == 0
    assert_same_bits(torch.load("y.pt", weights_only=True), x)


# ---- Names, pipes, what is there already ---------------------------------------------------------


def test_pipes_carry_tensors_both_ways(capsysbinary, monkeypatch):
    np.save("x.npy", array("float32"))
    original = Path("x.npy").read_bytes()
    monkeypatch.setattr(sys, "stdin", Pipe(original))
    assert main(["compress"]) == 0
    packed = capsysbinary.readouterr()
    assert packed.err.startswith(b"standard input -> standard output: 42,128 -> ")
    monkeypatch.setattr(sys, "stdin", Pipe(packed.out))
    assert main(["decompress", "-", "--quiet"]) == 0
    assert capsysbinary.readouterr() == (original, b"")
    monkeypatch.setattr(sys, "stdin", Pipe(packed.out))
    assert main(["inspect", "-"]) == 0
    assert capsysbinary.readouterr().out.startswith(b"standard input: container\nformat version")


def test_several_files_are_taken_and_one_output_is_for_one(capsys):
    for name in ("a.npy", "b.npy"):
        np.save(name, array("int8"))
    assert main(["compress", "a.npy", "b.npy"]) == 0
    assert main(["decompress", "a.npy.ebpc", "b.npy.ebpc", "--force"]) == 0
    capsys.readouterr()
    assert main(["compress", "a.npy", "b.npy", "-o", "c"]) == 2
    assert error_of(capsys) == "--output takes one FILE, got 2"


def test_nothing_is_replaced_without_force(capsys):
    np.save("x.npy", array("int8"))
    Path("x.npy.ebpc").write_text("precious")
    assert main(["compress", "x.npy"]) == 2
    assert error_of(capsys) == "x.npy.ebpc exists already; --force replaces it"
    assert Path("x.npy.ebpc").read_text() == "precious"
    assert main(["compress", "x.npy", "--force"]) == 0
    assert Path("x.npy.ebpc").read_bytes()[1:5] == b"EBPC"


def test_a_damaged_file_leaves_nothing_behind(capsys):
    np.save("x.npy", array("int8"))
    assert main(["compress", "x.npy"]) == 0
    Path("x.npy").unlink()
    packed = bytearray(Path("x.npy.ebpc").read_bytes())
    packed[-3] ^= 1
    Path("x.npy.ebpc").write_bytes(packed)
    capsys.readouterr()
    assert main(["decompress", "x.npy.ebpc"]) == 2
    assert error_of(capsys).startswith("x.npy.ebpc: container at byte ")
    assert [path.name for path in Path().iterdir()] == ["x.npy.ebpc"]


@pytest.mark.parametrize("kind", ["container", "pt", "safetensors"])
def test_more_bytes_than_allowed_are_refused(capsys, kind):
    zeros = torch.zeros(100_000)
    if kind == "container":
        torch_ebpc.write_file("x.ebpc", [zeros], zeros.shape, zeros.dtype)
    elif kind == "pt":
        torch.save({"a": zeros}, "x")
        assert main(["compress", "x"]) == 0
    else:
        save_file({"a": zeros}, "x")
        assert main(["compress", "x"]) == 0
    capsys.readouterr()
    assert main(["decompress", "x.ebpc", "-o", "y", "--max-bytes", "390K"]) == 2
    message = error_of(capsys)
    assert "at most 399" in message
    assert message.endswith("--max-bytes allows more")
    assert not Path("y").exists()
    assert main(["decompress", "x.ebpc", "-o", "y", "--max-bytes", "400000"]) == 0


# ---- What is refused, and how --------------------------------------------------------------------


def save_npy(x: np.ndarray, **options: bool) -> None:
    np.save("y.npy", x, **options)
    Path("y.npy").rename("x")


def wrong_file(kind: str) -> str:
    """Makes a file that cannot be compressed; returns what must be said about it."""
    if kind == "other bytes":
        Path("x").write_bytes(b"hello, world")
        return (
            "x: expected a .npy, .pt or .safetensors file or a container, found none of them:"
            " it begins with 68 65 6c 6c 6f 2c 20 77"
        )
    if kind == "empty":
        Path("x").write_bytes(b"")
        return (
            "x: expected a .npy, .pt or .safetensors file or a container, found none of them:"
            " it is empty"
        )
    if kind == "longdouble":
        save_npy(np.zeros(3, np.longdouble))
        return "x: can't convert np.ndarray of type numpy.longdouble"
    if kind == "big-endian":
        save_npy(np.zeros(3, ">f4"))
        return "x: expected the byte order of this CPU, found >f4"
    if kind == "objects":
        save_npy(np.array([{}]), allow_pickle=True)
        return "x: Array can't be memory-mapped: Python objects in dtype."
    if kind == "npz":
        np.savez("y.npz", a=np.zeros(3))
        Path("y.npz").rename("x")
        return "x: expected a file of torch.save, found an .npz archive: extract it"
    if kind == "module":
        torch.save(torch.nn.Linear(2, 2), "x")
        return (
            "x: expected a file that torch.load(weights_only=True) reads, found: Unsupported"
            " global: GLOBAL torch.nn.modules.linear.Linear"
        )
    if kind == "compressed":
        torch_ebpc.write_file("x", [torch.zeros(3)], (3,), torch.float32)
        return "x: it is compressed already"
    if kind == "packed":
        torch.save(state(), "y")
        assert main(["compress", "y", "-o", "x", "-q"]) == 0
        return "x: it is compressed already"
    if kind == "packed, nothing":
        torch.save({"torch_ebpc_packed": 1}, "x")
        return "x: expected the keys torch_ebpc_packed and content, found no content"
    if kind == "newer":
        save_file({}, "x", {"torch_ebpc_packed": "2"})
        return "x: packed version: expected 1, found 2"
    if kind == "cut":
        save_file(state(), "x")
        Path("x").write_bytes(Path("x").read_bytes()[:-1])
        return "x: expected a .safetensors file, found: "
    assert kind == "missing"
    return "x: No such file or directory"


@pytest.mark.parametrize(
    "kind",
    ["other bytes", "empty", "longdouble", "big-endian", "objects", "npz", "module", "compressed",
     "packed", "packed, nothing", "newer", "cut", "missing"],
)  # fmt: skip
def test_what_cannot_be_compressed_is_refused_by_name_and_reason(capsys, kind):
    expected = wrong_file(kind)
    capsys.readouterr()
    assert main(["compress", "x", "-o", "z"]) == 2
    assert error_of(capsys).startswith(expected)
    assert not Path("z").exists()


@pytest.mark.parametrize("kind", ["npy", "pt", "safetensors"])
def test_what_is_not_compressed_is_not_decompressed(capsys, kind):
    if kind == "npy":
        save_npy(array("int8"))
    elif kind == "pt":
        torch.save(state(), "x")
    else:
        save_file(state(), "x")
    assert main(["decompress", "x", "-o", "z"]) == 2
    assert error_of(capsys) == "x: it is not compressed"
    assert main(["decompress", "x"]) == 2
    assert error_of(capsys) == "x: give --output FILE, since its name does not end in .ebpc"


def test_wrong_parameters_are_refused_with_what_they_may_be(capsys):
    np.save("x.npy", array("int8"))
    assert main(["compress", "x.npy", "--block-size", "99"]) == 2
    assert error_of(capsys).startswith("x.npy: block_size ")
    assert main(["compress", "x.npy", "-o", "nowhere/x"]) == 2
    assert error_of(capsys) == "nowhere/x: there is no folder nowhere"
    with pytest.raises(SystemExit) as exit_:
        main(["decompress", "x.npy", "--max-bytes", "3Q"])
    assert exit_.value.code == 2
    assert "must be bytes, such as 1000000, 500M or 20G, got 3Q" in capsys.readouterr().err


def test_debug_shows_the_traceback(capsys):
    for arguments in (["--debug", "compress", "nothing"], ["compress", "nothing", "--debug"]):
        assert main(arguments) == 2
        assert "Traceback (most recent call last):" in capsys.readouterr().err


def test_auto_chooses_the_code_of_any_file(capsys):
    x = feature_map(torch.int16, (3, 700))
    np.save("x.npy", x.numpy())
    torch.save({"x": x}, "x.pt")
    save_file({"x": x}, "x.safetensors")
    names = ["x.npy", "x.pt", "x.safetensors"]
    assert main(["compress", *names, "--codec", "auto", "--quiet"]) == 0
    expected = torch_ebpc.compress(x, codec="auto")
    assert torch.equal(torch_ebpc.map_file("x.npy.ebpc"), expected)
    assert torch.equal(torch.load("x.pt.ebpc")["content"]["x"], expected)
    assert torch.equal(load_file("x.safetensors.ebpc")["x"], expected)
    for name in names:
        assert main(["decompress", f"{name}.ebpc", "-o", f"y{name[1:]}", "--quiet"]) == 0
    assert Path("y.npy").read_bytes() == Path("x.npy").read_bytes()
    assert torch.equal(torch.load("y.pt")["x"], x)
    assert torch.equal(load_file("y.safetensors")["x"], x)

    assert main(["compress", "x.npy", "--codec", "auto", "--base", "reused", "--force"]) == 2
    assert "base must be left at 'sent' with codec 'auto'" in capsys.readouterr().err
    (chosen,) = torch_ebpc.inspect(expected).codings
    assert main(["inspect", "x.npy.ebpc"]) == 0
    shown = capsys.readouterr().out
    assert f"codings            {chosen.coding}: 1 segments\n" in shown
    assert "block size         chosen by segment\n" in shown


# ---- inspect -------------------------------------------------------------------------------------


def test_inspect_shows_a_containers_header(capsys):
    x = feature_map(torch.int8, (3, 4, 5))
    torch_ebpc.write_file("x.ebpc", [x], x.shape, x.dtype)
    assert main(["inspect", "x.ebpc", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    info = torch_ebpc.inspect(torch_ebpc.map_file("x.ebpc"))
    assert found["kind"] == "container"
    assert found["dtype"] == "int8"
    assert found["shape"] == [3, 4, 5]
    assert found["plane_stream_bits"] == info.plane_stream_bits
    assert found["ratio"] == info.ratio
    assert main(["inspect", "x.ebpc"]) == 0
    assert "shape              3x4x5\n" in capsys.readouterr().out


def test_inspect_counts_what_compression_would_gain(capsys):
    content = {"a": {"weight": state()["weight"]}, "b": [state()["steps"]]}
    torch.save(content, "x.pt")
    assert main(["inspect", "x.pt", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    weight, steps = found["tensors"]
    assert (weight["name"], steps["name"]) == ("a.weight", "b.0")
    for method in ("ebpc", "zvc", "zero_rle"):
        assert weight["bits"][method] == torch_ebpc.count_bits(state()["weight"], method)
    assert weight["zeros"] == int((state()["weight"].view(torch.int32) == 0).sum())
    assert (steps["words"], steps["zeros"], steps["negative_zeros"]) == (2, 1, 0)
    assert found["total"]["counted_bits"] == {
        method: weight["bits"][method] + steps["bits"][method] for method in weight["bits"]
    }
    assert main(["inspect", "x.pt"]) == 0
    table = capsys.readouterr().out
    ratio = 32 * weight["words"] / weight["bits"]["ebpc"]
    assert f"{ratio:.2f}" in table


def test_inspect_counts_negative_zeros_beside_zeros(capsys):
    x = torch.tensor([0.0, -0.0, -0.0, 1.0])
    torch.save({"float": x, "double": x.double(), "int": x.int()}, "x.pt")
    assert main(["inspect", "x.pt", "--json"]) == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)["tensors"]}
    assert [found[name]["negative_zeros"] for name in found] == [2, 2, 0]
    assert [found[name]["zeros"] for name in found] == [1, 5, 3]  # of double, of 8 halves
    assert main(["inspect", "x.pt"]) == 0
    assert "25.0 + 50.0 of -0" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_every_dtype_comes_back_through_the_command_line(suffix):
    missing = {"safetensors": {torch.complex32, torch.complex128}}.get(suffix, set())
    x = {
        str(dtype): feature_map(dtype, (60, 50))
        for dtype in torch_ebpc.ops.DTYPES
        if dtype not in missing
    }
    torch.save(x, "x.pt") if suffix == "pt" else save_file(x, "x.safetensors")
    assert main(["compress", f"x.{suffix}", "-o", "packed", "-q"]) == 0
    is_pt = suffix == "pt"
    packed = torch.load("packed", weights_only=True)["content"] if is_pt else load_file("packed")
    assert {each.dtype for each in packed.values()} == {torch.uint8}
    assert main(["decompress", "packed", "-o", f"y.{suffix}", "-q"]) == 0
    found = torch.load("y.pt", weights_only=True) if is_pt else load_file("y.safetensors")
    assert found.keys() == x.keys()
    for name, each in x.items():
        assert_same_bits(found[name], each)


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_inspect_shows_what_a_packed_file_holds(capsys, kind):
    torch.save(state(), "x") if kind == "pt" else save_file(state(), "x", {"who": "me"})
    assert main(["compress", "x", "-q"]) == 0
    assert main(["inspect", "x.ebpc", "x", "--json"]) == 0
    packed, plain = json.loads(capsys.readouterr().out)
    assert (packed["packed"], plain["packed"]) == (True, False)
    by_name = {record["name"]: record for record in packed["tensors"]}
    assert by_name["weight"]["dtype"] == "float32"
    assert by_name["weight"]["shape"] == [40, 50]
    assert by_name["weight"]["container_bytes"] < by_name["weight"]["bytes"] == 8000
    assert by_name["bytes"]["dtype"] == "uint8"
    assert "container_bytes" not in by_name["steps"]
    assert packed["total"]["bytes"] == plain["total"]["bytes"]
    assert main(["inspect", "x.ebpc"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"x.ebpc: packed .{kind} file\n")
    assert ('"who": "me"' in text) == (kind == "safetensors")


def test_inspect_of_a_list_that_holds_itself_ends(capsys):
    endless = [torch.zeros(3)]
    endless.append(endless)
    torch.save(endless, "x.pt")
    assert main(["inspect", "x.pt"]) == 0
    assert main(["compress", "x.pt"]) == 0
