"""The code on README.md and in the guides does what they say. Of a page's blocks of code,

- `python` is run, in order and in one namespace,
- `console` is a shell's session: its lines `$ ...` are run, and have to succeed,
- `text`, or a block of no language, right after a `python` block is what that prints, as the other
  lines of a session are what its commands print (standard error too): `...` stands for anything,
  blanks for blanks, however many, and a number with decimals also for those next to it in the last
  one, since convolutions differ between CPUs; below `<!-- numbers vary -->` any number for any,
- `sh` lists commands that take long, and is not run; what it names has to exist,
- no other language holds what could be run.

All of a page runs in one folder, which has a folder `photos` in it.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import skimage
import sybil
from helpers import ROOT
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

from evaluation.paper import published
from torch_ebpc.cli.main import main as command_line

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = {"", "cmake", "cpp", "sh", "text", "yaml"}
MAKEFILE = (ROOT / "Makefile").read_text()
NUMBERS_VARY = "<!-- numbers vary -->"


def blocks_of(document: sybil.Document) -> Iterator[sybil.Region]:
    """All fenced blocks but MyST's directives, `{...}`."""
    lexer = FencedCodeBlockLexer(r"[^\n{]*", {"language": "language", "source": "source"})
    for region in lexer(document):
        region.parsed = region.lexemes["source"]
        region.evaluator = evaluate
        yield region


def evaluate(example: sybil.Example) -> str | None:
    """Runs or compares a block; returns what is wrong with it."""
    language = example.region.lexemes["language"].strip()
    numbers_vary = text_before(example).endswith(NUMBERS_VARY)
    printed = example.namespace.pop("_printed", None)
    if language == "python":
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            PythonEvaluator()(example)
        example.namespace["_printed"] = (example.end, output.getvalue())
        return None
    if language == "console":
        return run_session(example.parsed, numbers_vary)
    if language in ("", "text") and printed is not None:
        end, found = printed
        if text_before(example)[end:].strip() in ("", NUMBERS_VARY):
            return difference(example.parsed, found, numbers_vary)
    return None if language in NOT_RUN else f"{language}: a language that this test does not know"


def text_before(example: sybil.Example) -> str:
    return example.document.text[: example.start].rstrip()


# ---- What is printed -----------------------------------------------------------------------------

DECIMALS = re.compile(r"\d+\.\d+")


def difference(expected: str, found: str, numbers_vary: bool) -> str | None:
    checker = doctest.OutputChecker()
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    shown = found
    if numbers_vary:
        expected, shown = without_numbers(expected), without_numbers(found)
    elif len(DECIMALS.findall(expected)) == len(DECIMALS.findall(found)):
        numbers = iter(DECIMALS.findall(expected))
        shown = DECIMALS.sub(lambda match: settled(match[0], next(numbers)), found)
    if checker.check_output(expected, shown, flags):
        return None
    return checker.output_difference(doctest.Example("", expected), shown, flags)


def without_numbers(text: str) -> str:
    """With `#` for numbers, and lines of dashes, which are as long as a column is wide, alike."""
    return re.sub(r"-{3,}", "---", re.sub(r"[+-]?\d[\d,.]*", "#", text))


def settled(found: str, expected: str) -> str:
    """The expected number, if the one that was found is that or next to it."""
    digits = len(expected.partition(".")[2])
    near = abs(float(found) - float(expected)) < 1.5 * 10**-digits
    return expected if near and len(found.partition(".")[2]) == digits else found


# ---- Sessions ------------------------------------------------------------------------------------


def run_session(text: str, numbers_vary: bool) -> str | None:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        code, printed = run_command(command)
        if code != 0:
            return f"$ {command}\nends with exit code {code}:\n{printed}"
        wrong = difference(expected, printed, numbers_vary)
        if wrong is not None:
            return f"$ {command}\n{wrong}"
    return None


def run_command(command: str) -> tuple[int, str]:
    """The exit code and what is printed. A plain call of torch-ebpc runs in this process, which
    has PyTorch imported already."""
    if re.fullmatch(r"torch-ebpc [^|<>;&$]*", command):
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                code = command_line(shlex.split(command)[1:])
            except SystemExit as exit_:
                code = int(exit_.code or 0)
        return code, output.getvalue()
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=os.environ
        | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


# ---- Pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_does_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("astronaut.png", "chelsea.png", "coffee.png"):
        shutil.copy(Path(skimage.__file__).parent / "data" / name, photos)
    for example in sybil.Sybil([blocks_of]).parse(page):
        example.evaluate()


def test_the_readme_is_read_in_a_minute():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    assert max(map(len, lines)) <= 100


def test_the_notebook_is_stored_without_outputs():
    """`make docs` runs it; what it shows then is in the site."""
    cells = json.loads((ROOT / "docs" / "example.ipynb").read_text())["cells"]
    for cell in cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


# ---- Commands that are only listed ---------------------------------------------------------------


def listed_commands() -> list[str]:
    """The commands of all `sh` blocks, and those in the text of pages, each once."""
    commands = []
    for page in PAGES:
        text = page.read_text()
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            commands += [line.partition("#")[0].strip() for line in lines]
        commands += re.findall(r"`((?:make|python -m evaluation)[^`]*)`", text)
    return sorted({command for command in commands if command})


@pytest.mark.parametrize("command", listed_commands())
def test_a_listed_command_exists_with_its_options(command):
    module = re.search(r"(?:python|torchrun).* -m (evaluation[.\w]*)", command)
    if module is None:
        target = re.match(r"make ([\w-]+)", command)
        if target is None:
            return
        recipe = re.search(rf"^{target[1]}:.*\n(?:\t.*\n)*", MAKEFILE, re.MULTILINE)
        assert recipe is not None, f"the Makefile has no {target[1]}"
        for variable in re.findall(r"\b([A-Z_]+)=", command):
            assert f"$({variable})" in recipe[0], f"make {target[1]} does not look at {variable}"
        module = re.search(r"-m (evaluation[.\w]*)", recipe[0])
    options = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", command)) - {"--nproc-per-node"}
    if module is None or not options:
        return
    assert options <= options_of(module[1])


def options_of(module: str) -> set[str]:
    main = importlib.import_module(module)
    if not hasattr(main, "main"):
        main = importlib.import_module(f"{module}.__main__")
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
        main.main(["--help"])
    return set(re.findall(r"--[a-z][\w-]*", text.getvalue()))


# ---- Figures -------------------------------------------------------------------------------------


def test_the_table_of_the_paper_guide_is_what_make_paper_expects():
    stored = json.loads((ROOT / "evaluation/paper/expected.json").read_text())
    (ratios,) = (each["ratios"] for each in stored if each["identity"]["extent"] == "default")
    text = (ROOT / "docs" / "paper.md").read_text()
    lines = text.partition("<!-- table of evaluation/paper/expected.json -->\n")[2].splitlines()
    header, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[:6])
    methods = {"EBPC": "ebpc", "BPC": "bpc", "ZVC": "zvc", "zero-RLE": "zero_rle"}
    assert [row[0] for row in rows] == list(methods)
    for row in rows:
        method = methods[row[0]]
        for type, cell in zip(header[1:], row[1:], strict=True):
            ours = ratios[f"resnet34, activation maps: types: {type} {method}"]
            theirs = published.BY_TYPE[method].get(type)
            assert cell == f"{ours:.2f}" + (f" [{theirs:.2f}]" if theirs else "")
