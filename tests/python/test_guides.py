"""The code on README.md and in the guides does what they say. Of a page's blocks of code,

- `python` is run, in order and in one namespace,
- `console` is a shell's session: its lines `$ ...` are run, in a folder of the page's own,
- `text`, or a block of no language, right behind a `python` block is what that prints, as the other
  lines of a session are what its commands print: `...` stands for anything, blanks for blanks,
  however many, and a number with decimals also for those next to it in the last one, since
  convolutions differ between CPUs,
- `sh` lists commands that take long, and is not run; what it names has to exist,
- no other language holds what could be run.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sybil
from conftest import ROOT
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

from evaluation import published

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = {"", "cmake", "cpp", "sh", "text", "yaml"}
MAKEFILE = (ROOT / "Makefile").read_text()


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
    printed = example.namespace.pop("_printed", None)
    if language == "python":
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            PythonEvaluator()(example)
        example.namespace["_printed"] = (example.end, output.getvalue())
        return None
    if language == "console":
        return run_session(example.parsed)
    if (
        language in ("", "text")
        and printed is not None
        and not between(example, printed[0]).strip()
    ):
        return difference(example.parsed, printed[1])
    return (
        None if language in NOT_RUN else f"a block of {language}: this test knows no such language"
    )


def between(example: sybil.Example, end: int) -> str:
    return example.document.text[end : example.start]


DECIMALS = re.compile(r"\d+\.\d+")


def difference(expected: str, found: str) -> str | None:
    numbers = iter(DECIMALS.findall(expected))
    if len(DECIMALS.findall(expected)) == len(DECIMALS.findall(found)):
        found = DECIMALS.sub(lambda match: settled(match[0], next(numbers)), found)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    checker = doctest.OutputChecker()
    if checker.check_output(expected, found, flags):
        return None
    return checker.output_difference(doctest.Example("", expected), found, flags)


def settled(found: str, expected: str) -> str:
    """The expected number, if the one that was found is that or next to it."""
    digits = len(expected.partition(".")[2])
    near = abs(float(found) - float(expected)) < 1.5 * 10**-digits
    return expected if near and len(found.partition(".")[2]) == digits else found


def run_session(text: str) -> str | None:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        done = subprocess.run(
            ["bash", "-c", command],
            env=os.environ
            | {
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "COLUMNS": "100",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        wrong = difference(expected, done.stdout)
        if wrong is not None:
            return f"$ {command}\n{wrong}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_does_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for example in sybil.Sybil([blocks_of]).parse(page):
        example.evaluate()


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
    stored = json.loads((ROOT / "evaluation" / "expected.json").read_text())
    (ratios,) = (each["ratios"] for each in stored if each["identity"]["extent"] == "default")
    text = (ROOT / "docs" / "paper.md").read_text()
    lines = text.partition("<!-- table of evaluation/expected.json -->\n")[2].splitlines()
    header, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[:6])
    methods = {"EBPC": "ebpc", "BPC": "bpc", "ZVC": "zvc", "zero-RLE": "zero_rle"}
    assert [row[0] for row in rows] == list(methods)
    for row in rows:
        method = methods[row[0]]
        for type, cell in zip(header[1:], row[1:], strict=True):
            ours = ratios[f"resnet34, activation maps: types: {type} {method}"]
            theirs = published.BY_TYPE[method].get(type)
            assert cell == f"{ours:.2f}" + (f" [{theirs:.2f}]" if theirs else "")
