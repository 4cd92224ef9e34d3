"""Fixtures of all tests, and how hypothesis runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hypothesis
import pytest
import torch
from helpers import ROOT, images, missing, small_network, with_exact_sums

import torch_ebpc

sys.path.append(str(ROOT))  # for `evaluation`, which is run from the checkout and not installed

# The same examples in every run; nothing is written into the checkout.
hypothesis.settings.register_profile(
    "torch_ebpc", deadline=None, max_examples=60, derandomize=True, database=None
)
hypothesis.settings.load_profile("torch_ebpc")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared images and weights: $TORCH_EBPC_DATA, else `shared` beside the
    checkout."""
    folder = Path(os.environ.get("TORCH_EBPC_DATA") or ROOT.parent / "shared")
    if not folder.is_dir():
        missing(f"no shared data: {folder} is not a folder (see $TORCH_EBPC_DATA)")
    return folder


@pytest.fixture(scope="session")
def aotinductor_package(tmp_path_factory) -> tuple[Path, torch.nn.Module]:
    """A package of a small network with compression in it and a dynamic batch, and the network."""
    inserted = torch_ebpc.insert_compression(
        with_exact_sums(small_network()[:4]), example_inputs=images(), inplace=True
    )
    path = tmp_path_factory.mktemp("aotinductor") / "model.pt2"
    with torch.no_grad():
        program = torch.export.export(
            inserted, (images(),), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
        torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    return path, inserted


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def restored_threads():
    """Sets the number of PyTorch's threads back after the test."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    """In an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def without_gradients(request):
    """Gradients are on in the tests about gradients alone."""
    with torch.set_grad_enabled("gradient" in request.node.name):
        yield


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def network() -> torch.nn.Module:
    return small_network()
