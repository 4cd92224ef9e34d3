"""make bench-training."""

from __future__ import annotations

import json

import pytest
import torch

import torch_ebpc
from evaluation.bench import training, training_networks
from torch_ebpc.cli.images import images_in


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Two images in a folder."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    for index in range(2):
        pixels = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(folder / f"{index}.png")
    return folder


def _run(photographs, output, *arguments):
    options = ["--batch", "2", "--rounds", "1", "--threads", "1", "--dtypes", "bfloat16"]
    options += ["--untrained", "--images", str(photographs), "--json", str(output), *arguments]
    assert training.main(options) == 0
    return json.loads(output.read_text())


def test_a_short_run_verifies_all_steps_and_is_taken_up_again(photographs, tmp_path, capsys):
    methods = ["--methods", "checkpoint+save_compressed", "trim=False"]
    output = tmp_path / "training.json"
    arguments = ["--networks", "gpt", "--mallocs", "mapped", *methods]
    rows = _run(photographs, output, *arguments)["rows"]
    assert "the same bits as those of the plain run" in capsys.readouterr().out
    assert [row["method"] for row in rows] == ["plain", *methods[1:]]
    checkpoint, compressed = rows[1:]
    assert checkpoint["tensor_bytes"] < 0.2 * compressed["tensor_bytes"]
    assert compressed["stored_bytes"] < 0.7 * compressed["tensor_bytes"]
    assert all(len(row["peak_bytes"]) == len(row["seconds"]) == 1 for row in rows)

    # What is there is kept as it is; other networks come after it.
    again = _run(photographs, output, *arguments, "--resume")["rows"]
    assert again == rows
    printed = capsys.readouterr().out
    assert "gpt, bfloat16" in printed
    assert "checkpoint+save_compressed" in printed


@pytest.mark.parametrize("network", ["unet", "gpt"])
def test_parts_of_a_network_are_computed_again_with_the_same_gradients(photographs, network):
    gradients, saved_bytes = [], []
    for checkpoints in (False, True):
        source = training_networks.Source(network, None, images_in(photographs))
        training_network = source.prepared("float32")
        if checkpoints:
            training_network.checkpoint_parts()
        torch.manual_seed(0)
        with torch_ebpc.save_compressed(compress=False) as saved:
            loss = training_network.loss()
        loss.backward()
        saved_bytes.append(saved.report().total().tensor_bytes)
        gradients.append([each.grad for each in training_network.model.parameters()])
    assert saved_bytes[1] < 0.5 * saved_bytes[0]
    assert all(map(torch.equal, *gradients))


def test_what_a_step_saves_is_counted_by_what_made_it(photographs, tmp_path):
    rows = _run(photographs, tmp_path / "ratios.json", "--ratios")["rows"]
    kinds = {row["made_by"]: row for row in rows}
    values = 2 * 3_562_496  # after a ReLU, of all calls
    assert kinds["Relu, bfloat16"]["tensor_bytes"] == 2 * values
    assert all(row["N=16, sent"] < 1.01 * row["tensor_bytes"] for row in kinds.values())
    total = kinds.pop("total")
    assert total["tensor_bytes"] == sum(row["tensor_bytes"] for row in kinds.values())


def test_other_gradients_are_noticed():
    bits = {"plain": ("0x1p0", "ab"), "save_compressed": ("0x1p0", "cd"), "other": ("0x1p0", "ab")}
    with pytest.raises(AssertionError, match=r"float32, step 1: .* with save_compressed$"):
        training.check_same("float32, step 1", bits)
    training.check_same("float32, step 1", {"plain": 1, "save_compressed": 1})
