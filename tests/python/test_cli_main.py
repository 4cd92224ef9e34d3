"""``torch-ebpc`` itself: help, exit codes, ``doctor``."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, python
from safetensors.torch import save_file

import torch_ebpc
from torch_ebpc.cli import doctor, tensors
from torch_ebpc.cli.main import main
from torch_ebpc.ops import METHODS

COMMANDS = ("measure", "compress", "decompress", "inspect", "report", "doctor")


def help_of(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "--help"])
    assert exit_.value.code == 0
    return capsys.readouterr().out


# ---- Help and arguments --------------------------------------------------------------------------


def test_both_ways_to_call_it_are_there():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="torch-ebpc")
    assert script.load() is main
    done = python("-m", "torch_ebpc", "--version")
    assert done.stdout == f"torch-ebpc {torch_ebpc.__version__}\n"


def test_help_and_usage_errors_import_nothing_that_a_command_may_not_need():
    code = (
        "import sys, torch_ebpc\n"
        "before = set(sys.modules)\n"
        "from torch_ebpc.cli.main import main\n"
        "for arguments in (['--help'], ['measure', '--help'], ['compress', '--block-size', 'x']):\n"
        "    try: main(arguments)\n"
        "    except SystemExit: pass\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "sys.exit(bool(new & {'matplotlib', 'pandas', 'safetensors', 'torchvision', 'tqdm'}))"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


def test_help_names_every_command_and_exit_code(capsys):
    text = help_of(capsys)
    for name in COMMANDS:
        assert re.search(rf"^    {name}\b", text, re.MULTILINE), name
    for code in (0, 1, 2, 130, 141):
        assert re.search(rf"^  {code} ", text, re.MULTILINE), code


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_are_valid(capsys, name):
    """Each is parsed; what runs them is elsewhere."""
    from torch_ebpc.cli.arguments import parser

    text = help_of(capsys, name)
    examples = re.findall(rf"torch-ebpc ({name}[^|<>#\n]*)", text.partition("examples:")[2])
    assert examples
    for example in examples:
        assert parser().parse_args(example.split()).function == name


def test_help_names_every_method(capsys):
    assert f"of {', '.join(METHODS)};" in " ".join(help_of(capsys, "measure").split())


@pytest.mark.parametrize(
    "arguments", [[], ["zip"], ["compress", "--base", "none"], ["measure"], ["report"]]
)
def test_wrong_usage_is_exit_code_2(capsys, arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "error: " in capsys.readouterr().err


# ---- What ends a command -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "torch-ebpc: interrupted\n"),
        (ValueError("a reason"), 2, "torch-ebpc: error: a reason\n"),
        (OSError(28, "No space left on device"), 2, "torch-ebpc: error: No space left on device\n"),
        (OSError(13, "Denied", "a"), 2, "torch-ebpc: error: a: Denied\n"),
        (KeyError("x"), 2, "torch-ebpc: error: KeyError: 'x' (--debug shows where)\n"),
    ],
    ids=["interrupt", "value", "disk", "file", "unexpected"],
)
def test_every_exception_has_a_message_and_an_exit_code(monkeypatch, capsys, error, code, message):
    def fail(options):
        raise error

    monkeypatch.setattr(tensors, "compress", fail)
    assert main(["compress", "x"]) == code
    assert capsys.readouterr().err == message


def test_an_interrupt_while_a_command_is_imported_ends_it_after_that(monkeypatch, capsys):
    imported = []

    def slowly(name):
        os.kill(os.getpid(), signal.SIGINT)
        imported.append(name)
        return tensors

    monkeypatch.setattr(importlib, "import_module", slowly)
    monkeypatch.setattr(tensors, "compress", lambda options: pytest.fail("it has run"))
    handler = signal.getsignal(signal.SIGINT)
    assert main(["compress", "x"]) == 130
    assert capsys.readouterr().err == "torch-ebpc: interrupted\n"
    assert imported == ["torch_ebpc.cli.tensors"]
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_package_that_is_missing_is_named(monkeypatch, capsys, tmp_path):
    save_file({}, tmp_path / "x")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert main(["compress", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err == (
        "torch-ebpc: error: this needs the package safetensors, which is not installed:"
        " pip install safetensors\n"
    )


def test_a_reader_that_goes_away_is_exit_code_141(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 1000), np.int8))
    command = subprocess.Popen(
        [sys.executable, "-m", "torch_ebpc", "inspect", tmp_path / "x.npy"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    command.stdout.close()
    assert command.stderr.read() == b""
    assert command.wait() == 141


def test_names_that_the_encoding_lacks_are_shown_escaped(monkeypatch, tmp_path):
    torch.save({"w\u00fc": torch.zeros(3)}, tmp_path / "x.pt")
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", written)
    assert main(["inspect", str(tmp_path / "x.pt")]) == 0
    written.flush()
    assert b"w\\xfc" in written.buffer.getvalue()


class Terminal:
    """As standard input or output."""

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        pass


def test_nothing_binary_is_written_to_or_read_from_a_terminal(monkeypatch, capsys, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3, np.int8))
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert main(["compress"]) == 2
    assert main(["inspect", "-"]) == 2
    message = "give a FILE, or data on standard input, which is a terminal\n"
    assert capsys.readouterr().err == 2 * f"torch-ebpc: error: {message}"
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert main(["compress", str(tmp_path / "x.npy"), "-o", "-"]) == 2
    assert "give --output FILE, or a pipe" in capsys.readouterr().err


# ---- doctor --------------------------------------------------------------------------------------


def test_the_doctor_says_what_is_there_and_tests_every_kernel(capsys):
    before = torch_ebpc.kernel()
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(torch_ebpc.show_config() + "\n")
    assert re.search(rf"^  tqdm +{re.escape(importlib.metadata.version('tqdm'))}", text, re.M)
    for kernel in torch_ebpc.kernels():
        assert re.search(rf"^  {kernel} +passed$", text, re.M)
    assert torch_ebpc.kernel() == before


def test_a_package_that_is_not_there_is_shown_as_missing(monkeypatch, capsys):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert doctor._version("pandas") == "missing"


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("encode", "base reused: other streams than the golden ones"),
        ("count_bits", "base sent: counted other bits than were written"),
        ("decode", "base sent: what was encoded does not come back"),
        ("decompress", "torch.float32: what was compressed does not come back"),
        ("compress", "torch.int8: other bytes than the portable kernel's"),
    ],
)
def test_the_self_test_notices_a_kernel_that_is_wrong(monkeypatch, capsys, name, failure):
    """The fastest kernel, by one bit."""
    right = getattr(torch_ebpc, name)
    kernel = torch_ebpc.kernels()[0]
    assert kernel != "portable" or name != "compress"

    def wrong(*arguments, **options):
        result = right(*arguments, **options)
        if torch_ebpc.kernel() != kernel:
            return result
        if name == "encode":
            result.plane_stream[-1] ^= 128
        elif name == "count_bits":
            result += 1
        else:
            result.view(torch.uint8).view(-1)[-1] ^= 1
        return result

    monkeypatch.setattr(torch_ebpc, name, wrong)
    if name == "compress":  # damaged bytes would not be read
        monkeypatch.setattr(torch_ebpc, "decompress", lambda packed: torch.zeros(1))
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert re.search(rf"^  {kernel} +FAILED$", text, re.M)
    assert re.search(rf"^  {kernel}: .*{re.escape(failure)}$", text, re.M)
    if name != "compress" and len(torch_ebpc.kernels()) > 1:
        assert re.search(r"^  portable +passed$", text, re.M)


def test_the_self_tests_cases_are_golden_ones_of_every_width_and_sign():
    golden = {
        case["name"]: case
        for case in json.loads((ROOT / "tests" / "golden" / "ebpc_streams.json").read_text())
    }
    cases = json.loads(Path(doctor._CASES).read_text())
    for case in cases:
        assert case.items() <= golden[case["name"]].items()
    kinds = {(case["word_bits"], case["block_size"], case["signed"]) for case in cases}
    assert kinds == {
        (case["word_bits"], case["block_size"], case["signed"]) for case in golden.values()
    }
