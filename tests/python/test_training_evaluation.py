"""make bench-training."""

from __future__ import annotations

import json

import pytest
import torch

from evaluation.bench import training


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Two images in a folder."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    for index in range(2):
        pixels = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(folder / f"{index}.png")
    return folder


def test_a_short_run_verifies_all_steps_and_reports_memory_and_ratios(
    photographs, tmp_path, monkeypatch, capsys
):
    for name in list(training.METHODS):
        if name not in ("plain", "checkpoint + save_compressed"):
            monkeypatch.delitem(training.METHODS, name)
    output = tmp_path / "training.json"
    arguments = ["--batch", "2", "--rounds", "1", "--threads", "1", "--dtypes", "bfloat16"]
    arguments += ["--untrained"]
    arguments += ["--mallocs", "mapped"]
    arguments += ["--images", str(photographs), "--json", str(output)]
    assert training.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "the same bits as those of the plain run" in printed
    content = json.loads(output.read_text())

    kinds = {row["made_by"]: row for row in content["ratios"]}
    values = 2 * 3_562_496  # after a ReLU, of all calls
    assert kinds["Relu, bfloat16"]["tensor_bytes"] == 2 * values
    assert all(row["N=16, sent"] < 1.01 * row["tensor_bytes"] for row in kinds.values())
    total = kinds.pop("total")
    assert total["tensor_bytes"] == sum(row["tensor_bytes"] for row in kinds.values())

    plain, compressed = content["rows"]
    assert plain["stored_bytes"] == plain["tensor_bytes"]
    # All that is counted by kind, and small tensors.
    assert 0 < plain["tensor_bytes"] - total["tensor_bytes"] < 2**20
    assert compressed["tensor_bytes"] < plain["tensor_bytes"]
    assert compressed["stored_bytes"] < 0.7 * compressed["tensor_bytes"]
    assert len(plain["seconds"]) == len(compressed["peak_bytes"]) == 1


def test_other_gradients_are_noticed():
    bits = {"plain": ("0x1p0", "ab"), "save_compressed": ("0x1p0", "cd"), "other": ("0x1p0", "ab")}
    with pytest.raises(AssertionError, match=r"float32, step 1: .* with save_compressed$"):
        training.check_same("float32, step 1", bits)
    training.check_same("float32, step 1", {"plain": 1, "save_compressed": 1})
