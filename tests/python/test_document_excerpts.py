"""What documents show of a file, below ``<!-- from: PATH -->``, stands in that file."""

from __future__ import annotations

import re

import pytest
from helpers import ROOT

EXCERPT = re.compile(r"<!-- from: (\S+) -->\n```\w*\n(.*?)```", re.S)
EXCERPTS = [
    pytest.param(path, text, id=f"{document.name}: {path}")
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for path, text in EXCERPT.findall(document.read_text())
]


@pytest.mark.parametrize(("path", "text"), EXCERPTS)
def test_an_excerpt_stands_in_its_file(path, text):
    assert text in (ROOT / path).read_text()


def test_there_are_excerpts():
    assert len(EXCERPTS) >= 5
