"""The package and its library: what they load, need and refuse."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from helpers import ROOT, feature_map, missing, python

import torch_ebpc
from torch_ebpc import _library

DYNAMIC = re.compile(r"\(NEEDED\).*\[(.+)\]")


def binutil(*command: str) -> str:
    if shutil.which(command[0]) is None:
        missing(f"no {command[0]}, of Debian's package binutils")
    return subprocess.check_output(command, text=True)


# ---- Versions ----------------------------------------------------------------------------------


def test_the_version_is_the_one_in_version_txt():
    version = (ROOT / "version.txt").read_text().strip()
    assert torch_ebpc.__version__ == version
    assert importlib.metadata.version("torch_ebpc") == version
    assert torch.ops.torch_ebpc.version() == version


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """As if the package were installed outside a source folder."""
    monkeypatch.setattr(_library, "_PACKAGE", tmp_path / "site-packages" / "torch_ebpc")


def test_a_library_of_another_version_is_an_import_error(monkeypatch, installed):
    library_version = torch_ebpc.__version__
    monkeypatch.setattr(_library, "__version__", "99.1")
    with pytest.raises(ImportError) as error:
        _library.load()
    message = str(error.value)
    assert message.startswith("torch_ebpc is version 99.1, but its library ")
    assert f" is version {library_version}. Install torch_ebpc again" in message


def test_a_missing_library_is_an_import_error_that_says_what_to_do(
    monkeypatch, tmp_path, installed
):
    monkeypatch.setattr(_library, "LIBRARY_PATH", tmp_path / "libtorch_ebpc.so")
    with pytest.raises(ImportError) as error:
        _library.load()
    assert str(error.value) == (
        f"torch_ebpc's library is missing: {tmp_path / 'libtorch_ebpc.so'} does not exist."
        " Install torch_ebpc again: 'pip install .' in its source folder."
    )


def test_the_source_folder_says_that_it_hides_what_is_installed(monkeypatch, tmp_path):
    """After `pip install .`, Python in the checkout finds the folder's package first."""
    monkeypatch.setattr(_library, "LIBRARY_PATH", tmp_path / "libtorch_ebpc.so")
    monkeypatch.setattr(_library, "_PACKAGE", tmp_path / "torch_ebpc")
    (tmp_path / "setup.py").touch()
    with pytest.raises(ImportError) as error:
        _library.load()
    assert str(error.value).endswith(
        f"You are importing the source folder {tmp_path}, which hides an installed torch_ebpc."
        " Change to another folder, or build the library in this one: 'pip install -e .'."
    )


def test_a_source_folder_without_any_installation_says_so(tmp_path):
    shutil.copytree(ROOT / "torch_ebpc", tmp_path / "torch_ebpc")
    (tmp_path / "setup.py").touch()
    code = (
        f"import sys, importlib.metadata; sys.path.insert(0, {str(tmp_path)!r})\n"
        "def version(name): raise importlib.metadata.PackageNotFoundError(name)\n"
        "importlib.metadata.version = version; import torch_ebpc"
    )
    done = python("-c", code, PYTHONPATH="")
    assert done.returncode != 0
    assert "ImportError: torch_ebpc is not installed. You are importing" in done.stderr


def test_a_library_that_does_not_load_is_an_import_error_with_the_reason(
    monkeypatch, tmp_path, installed
):
    broken = tmp_path / "libtorch_ebpc.so"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(_library, "LIBRARY_PATH", broken)
    with pytest.raises(ImportError, match=r"does not load into torch .*Install torch_ebpc again"):
        _library.load()


def test_importing_without_the_library_fails_and_does_not_only_warn(tmp_path):
    package = tmp_path / "torch_ebpc"
    shutil.copytree(
        ROOT / "torch_ebpc", package, ignore=shutil.ignore_patterns("lib", "__pycache__")
    )
    done = python(
        "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import torch_ebpc", PYTHONPATH=""
    )
    assert done.returncode != 0
    assert "ImportError: torch_ebpc's library is missing: " in done.stderr


# ---- What it needs -----------------------------------------------------------------------------


def test_the_library_uses_no_symbol_of_python():
    undefined = binutil("nm", "--dynamic", "--undefined-only", str(_library.LIBRARY_PATH))
    names = [line.split()[-1] for line in undefined.splitlines()]
    assert any(name.startswith("aoti_torch_") for name in names)  # the stable ABI
    assert not [name for name in names if re.match(r"_?Py[A-Z_]", name)]


def test_the_library_uses_nothing_of_torch_but_its_stable_abi():
    undefined = binutil("nm", "--dynamic", "--undefined-only", str(_library.LIBRARY_PATH))
    names = [line.split()[-1] for line in undefined.splitlines()]
    unstable = [name for name in names if re.match(r"_ZNK?\d*(3c10|2at|5torch)", name)]
    assert unstable == []


def needed_by(library: Path) -> tuple[set[str], list[str]]:
    """The libraries that one needs, and its run paths."""
    dynamic = binutil("readelf", "--dynamic", "--wide", str(library))
    return set(DYNAMIC.findall(dynamic)), re.findall(r"\((?:RUN|R)PATH\).*\[(.*)\]", dynamic)


def without_standard_libraries(needed: set[str]) -> set[str]:
    standard = {"libstdc++", "libm", "libgcc_s", "libc", "ld"}
    return {name for name in needed if re.sub(r"[-.].*", "", name) not in standard}


def test_the_operators_need_torch_cpu_and_the_codec_beside_them_alone():
    needed, run_paths = needed_by(_library.LIBRARY_PATH)
    assert without_standard_libraries(needed) == {"libtorch_cpu.so", "libebpc.so"}
    assert run_paths == ["$ORIGIN"]


def test_the_codec_needs_the_standard_libraries_alone():
    needed, run_paths = needed_by(_library.LIBRARY_PATH.with_name("libebpc.so"))
    assert without_standard_libraries(needed) == set()
    assert run_paths == []


def test_importing_pulls_in_neither_pandas_nor_matplotlib_nor_torchvision():
    done = python(
        "-c",
        "import torch, sys; before = set(sys.modules); import torch_ebpc;"
        "new = set(sys.modules) - before;"
        "print(new & {'torch_ebpc.cli'} | {name.split('.')[0] for name in new})",
    )
    assert done.returncode == 0, done.stderr
    assert "'torch_ebpc'" in done.stdout
    for name in (
        "pandas", "matplotlib", "torchvision", "skimage", "scipy", "PIL", "safetensors", "tabulate",
        "tqdm", "torch_ebpc.cli",
    ):  # fmt: skip
        assert f"'{name}'" not in done.stdout


def test_what_few_programs_use_is_imported_when_it_is_asked_for():
    done = python(
        "-c",
        "import sys, torch_ebpc\n"
        "for name in ('hardware', 'distributed'):\n"
        "    assert f'torch_ebpc.{name}' not in sys.modules and name in dir(torch_ebpc)\n"
        "    assert getattr(torch_ebpc, name) is sys.modules[f'torch_ebpc.{name}']\n"
        "try: torch_ebpc.nothing\n"
        "except AttributeError as error: print(error)",
    )
    assert done.stdout == "module 'torch_ebpc' has no attribute 'nothing'\n", done.stderr


def test_importing_says_nothing():
    done = python("-c", "import torch_ebpc")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_public_name_is_there_and_documented():
    for name in torch_ebpc.__all__:
        assert hasattr(torch_ebpc, name)
        if name != "__version__":
            assert getattr(torch_ebpc, name).__doc__


# ---- The forced kernel ---------------------------------------------------------------------------

ROUND_TRIP = """
import torch, torch_ebpc
x = torch.arange(-50, 50, dtype=torch.int8)
assert torch.equal(torch_ebpc.decompress(torch_ebpc.compress(x)), x)
print(torch.ops.torch_ebpc.kernel())
"""


def test_the_environment_variable_forces_a_kernel():
    done = python("-c", ROUND_TRIP, TORCH_EBPC_KERNEL="portable")
    assert done.stdout == "portable\n", done.stderr


def test_an_unknown_kernel_is_an_error_that_lists_them():
    done = python("-c", ROUND_TRIP, TORCH_EBPC_KERNEL="mmx")
    assert done.returncode != 0
    assert re.search(
        r"ValueError: .*TORCH_EBPC_KERNEL.*must be one of .*portable.*'mmx'", done.stderr
    )


def test_every_kernel_of_this_cpu_can_be_chosen_and_writes_the_same_bytes():
    assert torch_ebpc.kernels()[-1] == "portable"
    x = feature_map(torch.int8, (3, 5000))
    packed = torch_ebpc.compress(x)
    before = torch_ebpc.kernel()
    for name in torch_ebpc.kernels():
        with torch_ebpc.use_kernel(name):
            assert torch_ebpc.kernel() == name
            assert torch.equal(torch_ebpc.compress(x), packed)
            assert torch.equal(torch_ebpc.decompress(packed), x)
        assert torch_ebpc.kernel() == before


def test_the_kernel_is_set_back_after_an_exception_and_unknown_ones_are_refused():
    before = torch_ebpc.kernel()
    with pytest.raises(KeyError), torch_ebpc.use_kernel("portable"):
        raise KeyError
    assert torch_ebpc.kernel() == before
    with pytest.raises(ValueError, match=r"must be one of .*portable.*got 'mmx'"):
        torch_ebpc.use_kernel("mmx").__enter__()
    assert torch_ebpc.kernel() == before


def test_show_config_says_what_runs():
    text = torch_ebpc.show_config()
    for each in (torch_ebpc.__version__, torch_ebpc.kernel(), str(_library.LIBRARY_PATH)):
        assert each in text
