"""The code blocks of README.md and docs do what they show.

A ``python`` block below ``<!-- example: ... -->`` runs; those of a document share their names. In a
``console`` block, lines after ``$`` run in a shell, and what they print (standard error too) is
compared with what stands below; ``...`` stands for any text. Below ``<!-- numbers vary -->``,
numbers and the widths of columns may be others. All of a document runs in one folder, with a folder
``photos``.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import skimage
from conftest import ROOT

from torch_ebpc.cli.main import main

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)```", re.S)


def blocks_of(document: Path) -> list[tuple[str, str, str]]:
    """The mark, language and text of what is to be run."""
    found = [
        (match["mark"] or "", match["language"], match["text"])
        for match in BLOCK.finditer(document.read_text())
    ]
    return [
        block
        for block in found
        if block[1] == "console" or (block[1] == "python" and block[0].startswith("example:"))
    ]


def run_command(command: str) -> tuple[int, str]:
    """The exit code and what is printed. A plain call of torch-ebpc runs in this process, which
    has PyTorch imported already."""
    if re.fullmatch(r"torch-ebpc [^|<>;&$]*", command):
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                code = main(shlex.split(command)[1:])
            except SystemExit as exit_:
                code = int(exit_.code or 0)
        return code, output.getvalue()
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def run_console(text: str, *, numbers_vary: bool) -> None:
    checker = doctest.OutputChecker()
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for session in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, expected = session.partition("\n")
        code, printed = run_command(command)
        found = printed
        if numbers_vary:
            expected, found = (
                re.sub(r"-{3,}", "---", re.sub(r"[+-]?\d[\d,.]*", "#", each))
                for each in (expected, found)
            )
        assert code == 0, f"$ {command}\n{printed}"
        assert checker.check_output(expected, found, options), (
            f"$ {command}\nexpected:\n{expected}\nfound:\n{printed}"
        )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_examples_of_a_document_do_what_they_show(document, tmp_path, monkeypatch):
    blocks = blocks_of(document)
    if not blocks:
        assert document.name != "README.md"
        return
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    photos = Path("photos")
    photos.mkdir()
    for name in ("astronaut.png", "chelsea.png", "coffee.png"):
        shutil.copy(Path(skimage.__file__).parent / "data" / name, photos)
    names: dict[str, object] = {"__name__": "__main__"}
    for mark, language, text in blocks:
        if language == "python":
            exec(compile(text, document.name, "exec"), names)
        else:
            run_console(text, numbers_vary=mark == "numbers vary")
