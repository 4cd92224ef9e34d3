"""How the project is built, tested and kept: the Makefile's scripts, CMake's options, limits."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import ROOT, missing

VERSION = re.search(r"\d.*", (ROOT / "version.txt").read_text())[0]


def call(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


# ---- What is tracked ---------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)

    def refusals(**files: bytes) -> str:
        for name, content in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        subprocess.run(["git", "-C", tmp_path, "add", "--all"], check=True)
        done = call(sys.executable, ROOT / ".ci" / "tracked_files.py", tmp_path)
        assert (done.returncode == 0) == (done.stderr == "")
        return done.stderr

    return refusals


def test_lint_refuses_a_tracked_binary_and_names_it(checkout):
    assert checkout(text=b"words\n" * 1000, nothing=b"") == ""
    assert checkout(folder__library=b"\x7fELF\0\0").startswith(
        "folder/library: expected text, found a binary file of 6 bytes\n"
    )


def test_lint_refuses_a_large_text_and_says_how_large(checkout):
    assert checkout(text=b"x" * 500_000) == ""
    assert checkout(text=b"x" * 500_001).startswith(
        "text: expected at most 500000 bytes, found 500001\n"
    )


def test_lint_lets_what_has_a_reason_pass_up_to_a_size_of_its_own(checkout):
    maps = b"\0" * 6_000_000
    assert checkout(evaluation__recorded__maps=maps, tests__golden__containers__x=b"\0") == ""
    assert checkout(evaluation__recorded__maps=maps + b"\0").startswith(
        "evaluation/recorded/maps: expected at most 6000000 bytes, found 6000001\n"
    )


def test_what_is_built_is_ignored():
    for path in (
        "torch_ebpc/libtorch_ebpc.so", "torch_ebpc/lib/libebpc.so", "build/operators/x.o",
        "compile_commands.json", "crash-0123", ".coverage", "docs/.ipynb_checkpoints/x",
    ):  # fmt: skip
        if not (ROOT / ".git").exists():
            missing("no git checkout")
        assert call("git", "-C", ROOT, "check-ignore", "--no-index", path).returncode == 0, path


# ---- The environment ---------------------------------------------------------------------------


@pytest.fixture
def environment(tmp_path):
    """Calls .ci/environment where `python3` and the others of that name have these versions."""
    pythons = tmp_path / "bin"
    pythons.mkdir()
    (pythons / "dirname").symlink_to("/usr/bin/dirname")

    def made_with(minors: dict[str, int], *named: str) -> subprocess.CompletedProcess[str]:
        for name, minor in minors.items():
            program(
                pythons / name,
                f'case "$*" in --version) echo Python 3.{minor}.0;; *version_info*) echo {minor};;'
                f' *ensurepip*) ;; *) echo "{name}: $*";; esac',
            )
        named = [name.replace("BIN", str(pythons)) for name in named]
        command = ["/bin/bash", ROOT / ".ci" / "environment", "folder", *named]
        return call(*command, PATH=str(pythons))

    return made_with


@pytest.mark.parametrize(
    ("minors", "named", "taken"),
    [
        ({"python3": 10, "python3.14": 14}, [], "python3"),
        ({"python3": 9, "python3.10": 10, "python3.13": 13}, [], "python3.13"),
        ({"python3": 15, "python3.12": 12}, [], "python3.12"),
        ({"python3": 11, "python3.12": 12}, ["python3.12"], "python3.12"),
        ({"python3": 11, "python3.12": 12}, ["BIN/python3.12"], "python3.12"),
    ],
)
def test_the_environment_is_made_with_a_python_that_fits(environment, minors, named, taken):
    done = environment(minors, *named)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{taken}: -m venv --clear folder"


def test_a_python_that_does_not_fit_is_refused_by_name(environment):
    done = environment({"python3": 11, "old": 9}, "old")
    assert done.returncode == 1
    assert done.stderr == "PYTHON must be Python 3.10 to 3.14, got 'old':\nPython 3.9.0\n"
    done = environment({}, "/no/python")
    assert done.stderr.startswith("PYTHON must be Python 3.10 to 3.14, got '/no/python':\n")


def test_ci_says_to_the_tests_that_it_is_ci(tmp_path):
    program(tmp_path / "make", 'echo "CI=$CI make $1"')
    done = call("bash", ROOT / ".ci" / "run", PATH=f"{tmp_path}:{os.environ['PATH']}", CI="")
    assert done.returncode == 0, done.stderr
    calls = [line for line in done.stdout.splitlines() if line.startswith("CI=")]
    assert calls[0] == "CI=true make test"
    assert len(calls) > 5
    assert all(line.startswith("CI=true ") for line in calls)


def test_every_requirement_of_an_extra_is_pinned():
    wanted = importlib.metadata.requires("torch_ebpc")
    assert len(wanted) > 20
    names = {re.match(r"[\w-]+", each)[0].lower().replace("_", "-") for each in wanted}
    pins = re.findall(r"^([\w-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert names - {"torch-ebpc"} <= {pin.lower() for pin in pins}


def test_citation_and_changelog_have_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == VERSION
    assert len(citation["references"]) == 2
    headings = re.findall(r"^## (.*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(VERSION)} - \d{{4}}-\d\d-\d\d", headings[1])


# ---- CMake -------------------------------------------------------------------------------------


def compiler_commands(folder: Path, *options: str) -> dict[str, str]:
    """How each file would be compiled."""
    configured = call(
        "cmake", "-S", ROOT, "-B", folder, "-DTORCH_EBPC_BUILD_OPERATORS=OFF", *options
    )
    assert configured.returncode == 0, configured.stderr
    entries = json.loads((folder / "compile_commands.json").read_text())
    return {
        Path(entry["file"]).relative_to(ROOT / "csrc" / "ebpc").as_posix(): entry["command"]
        for entry in entries
        if Path(entry["file"]).is_relative_to(ROOT / "csrc" / "ebpc")
    }


def test_warnings_are_errors_for_developers_alone(tmp_path):
    everybody = compiler_commands(tmp_path / "everybody")
    developers = compiler_commands(tmp_path / "developers", "-DTORCH_EBPC_DEVELOPER=ON")
    assert len(everybody) == len(developers) > 20
    assert not [name for name, command in everybody.items() if " -Werror" in command]
    assert all(" -Wall " in command and " -Werror " in command for command in developers.values())


def test_kernels_are_compiled_for_what_the_cpu_is_asked_for(tmp_path):
    header = (ROOT / "csrc" / "ebpc" / "kernels" / "dispatch.h").read_text()
    asked = {
        kernel: {f"-m{feature}" for feature in re.findall(r'supports\("([^"]+)"\)', body)}
        for kernel, body in re.findall(r"bool cpu_has_(\w+)\(\) \{(.*?)\n\}", header, re.DOTALL)
    }
    assert len(asked["avx2"]) == 7
    assert {"-mavx512cd", "-mgfni"} <= asked["avx512"]
    commands = compiler_commands(tmp_path)
    if "kernels/avx2/kernel.cpp" not in commands:
        missing("no x86-64 CPU")
    for file, options in [
        ("kernels/avx2/kernel.cpp", asked["avx2"]),
        ("kernels/avx512/kernel.cpp", asked["avx2"] | asked["avx512"]),
        ("kernels/dispatch.cpp", set()),
    ]:
        assert set(re.findall(r" (-m\S+)", commands[file])) == options


@pytest.mark.parametrize("ninja", [True, False])
def test_setup_takes_ninja_where_it_is_and_the_options_of_cmake_args(tmp_path, ninja):
    for name in ("setup.py", "version.txt", "pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for package in ("torch", "torch_ebpc", "torch_ebpc/cli"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    tools = tmp_path / "tools"
    tools.mkdir()
    program(tools / "cmake", f'echo "$*" >> {tmp_path}/calls')
    if ninja:
        program(tools / "ninja", "")
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext"],
        cwd=tmp_path, env={**os.environ, "PATH": str(tools), "CMAKE_ARGS": '-DA="b c" -DD=1'},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    configure, build, _ = (tmp_path / "calls").read_text().splitlines()
    assert " -DBUILD_SHARED_LIBS=ON -DA=b c -DD=1" in configure
    with_ninja = f"-G Ninja -DCMAKE_MAKE_PROGRAM={tools}/ninja"
    assert configure.endswith(with_ninja) if ninja else "-G" not in configure
    assert " --target torch_ebpc --parallel " in build


# ---- Limits of time ----------------------------------------------------------------------------


def test_a_test_that_does_not_end_is_ended(tmp_path, pytestconfig):
    assert 0 < float(pytestconfig.getini("timeout")) <= 600
    test = tmp_path / "test_waits.py"
    test.write_text("import threading\ndef test_waits():\n    threading.Event().wait()\n")
    done = call(
        sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "-o", "timeout=1",
        "-p", "no:cacheprovider", test,
    )  # fmt: skip
    assert done.returncode != 0
    assert "Timeout" in done.stdout + done.stderr


def test_every_cpp_test_has_a_time_limit():
    build = ROOT / "build" / "operators"
    listed = call("ctest", "--test-dir", build, "--show-only=json-v1")
    tests = json.loads(listed.stdout)["tests"] if listed.returncode == 0 else []
    if len(tests) < 100:
        missing(f"{build} has no C++ tests; 'make test-cpp' builds them")
    for test in tests:
        limits = [each["value"] for each in test["properties"] if each["name"] == "TIMEOUT"]
        assert len(limits) == 1, test["name"]
        assert 0 < limits[0] <= 600, test["name"]
