"""The gallery of examples runs, as far as its packages are there; each example checks itself."""

from __future__ import annotations

import importlib.util
import re

import pytest
from helpers import ROOT, python

EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
PAGE = (ROOT / "docs" / "examples.md").read_text()
# Their packages are optional, in CI too.
MODULES = {"silero-vad": "silero_vad"}


def needed(source: str) -> list[str]:
    """The modules that an example says it needs."""
    names = re.search(r"^Needs: pip install (.*?)(?: \(|\"\"\"|$)", source, re.MULTILINE)
    found = names[1].split() if names else []
    return [MODULES.get(name, name) for name in found if not name.startswith("--")]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_where_its_packages_are(path, tmp_path):
    missing = [name for name in needed(path.read_text()) if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    done = python(path, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_page_of_examples_shows_each_with_what_it_needs(path):
    assert f"{{literalinclude}} examples/{path.name}" in PAGE
    source = path.read_text()
    assert ("Needs: pip install " in source) != ("Needs nothing" in source)
    if path.stem != "squared_relu":
        assert needed(source), "the line that says what it needs was not understood"
