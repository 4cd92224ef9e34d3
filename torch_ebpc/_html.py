"""Reports as one HTML file each: a summary, then pictures, then tables that are folded until asked
for. A page fetches nothing, fits a phone, and is light or dark as the reader's system is."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --text: #111; --page: #fff; --line: #bbb; --soft: #f0f0f0;
  --main: #14508c; --other: #9a9a9a; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e6e6; --page: #16181b; --line: #555;
  --soft: #24282d; --main: #6aa9e9; --other: #6f767d; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page);
  max-width: 78rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; }
.warning { border: 3px solid; padding: .5rem 1rem; font-weight: bold; }
.summary { border-left: 4px solid var(--main); padding: .2rem 0 .2rem 1.8rem; }
details { border-top: 1px solid var(--line); padding: .5rem 0; }
details > summary { cursor: pointer; font-weight: 600; font-size: 1.1rem; }
.scroll { overflow-x: auto; margin: .3rem 0 1.5rem; }
table { border-collapse: collapse; font-size: .88rem; overflow-wrap: normal; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td { max-width: 34rem; font-variant-numeric: tabular-nums; }
td:first-child { white-space: nowrap; }
th { border-bottom-width: 2px; text-align: left; vertical-align: bottom; cursor: pointer; }
th:hover, th:focus, tbody tr:hover { background: var(--soft); }
th[aria-sort=ascending]::after { content: " \\25b2"; }
th[aria-sort=descending]::after { content: " \\25bc"; }
figure { margin: 1rem 0 2rem; }
.pictures { display: grid; gap: 0 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); }
figure img { max-width: 100%; height: auto; background: #fff; }
figcaption, .caption { font-style: italic; font-size: .9rem; }
.bars { display: grid; grid-template-columns: minmax(4rem, max-content) 1fr max-content;
  gap: .15rem .6rem; align-items: center; font-size: .85rem; }
.bars div div { background: var(--other); height: .5rem; margin: 1px 0; min-width: 1px; }
.bars div div:first-child { background: var(--main); height: .8rem; }
@media print { details::details-content { content-visibility: visible; display: block; } }
"""

_SCRIPT = """
// A click (or Enter) on a header sorts its table by that column: numbers by value, then text.
for (const header of document.querySelectorAll("th")) {
  header.tabIndex = 0;
  header.scope = "col";
  const sort = () => {
    const column = header.cellIndex, body = header.closest("table").tBodies[0];
    const ascending = header.getAttribute("aria-sort") !== "ascending";
    const key = row => row.cells[column].textContent.replaceAll(",", "");
    const compare = (a, b) => {
      const [x, y] = [parseFloat(a), parseFloat(b)];
      return isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y;
    };
    const rows = [...body.rows].sort((a, b) => compare(key(a), key(b)) * (ascending ? 1 : -1));
    body.append(...rows);
    for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  };
  header.addEventListener("click", sort);
  header.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
}
"""


def page(title: str, summary: Sequence[str], parts: Iterable[str], warning: str = "") -> str:
    """A whole document.

    Args:
        title, summary, warning: plain text; the summary's lines are items of a list.
        parts: what follows, in HTML, as the other functions here return it.
    """
    lines = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',  # else browsers ask the server for one
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="warning">{escape(warning)}</p>' if warning else "",
        f'<ul class="summary">{"".join(f"<li>{escape(line)}</li>" for line in summary)}</ul>',
        *parts,
        f"<script>{_SCRIPT}</script>\n</body>\n</html>\n",
    ]
    return "\n".join(filter(None, lines))


def paragraph(text: str) -> str:
    """Plain text; what begins with "- " is an item of a list."""
    if text.startswith("- "):
        return f"<ul><li>{escape(text[2:])}</li></ul>"
    return f"<p>{escape(text)}</p>"


def table(html: str, caption: str = "") -> str:
    """A table, as the package tabulate makes it in its format "html", that scrolls sideways."""
    above = f'<p class="caption">{escape(caption)}</p>\n' if caption else ""
    return f'{above}<div class="scroll">{html}</div>'


def folded(title: str, parts: Iterable[str]) -> str:
    """Parts under a title that opens them."""
    return f"<details>\n<summary>{escape(title)}</summary>\n{chr(10).join(parts)}\n</details>"


def pictures(svgs: Iterable[tuple[bytes, str]]) -> str:
    """SVGs with their captions, as images, so that their ids and styles are their own."""
    figures = []
    for svg, caption in svgs:
        source = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
        below = f"<figcaption>{escape(caption)}</figcaption>"
        figures.append(f'<figure><img src="{source}" alt="{escape(caption)}">{below}</figure>')
    return f'<div class="pictures">{"".join(figures)}</div>'


def bars(rows: Sequence[tuple[str, Sequence[float]]], caption: str) -> str:
    """Bars of several values for each name, the first of them in the main colour and as a number;
    what is infinite is as long as the longest."""
    finite = [value for _, values in rows for value in values if value < float("inf")]
    longest = max(finite, default=0) or 1
    lines = []
    for name, values in rows:
        each = "".join(
            f'<div style="width:{100 * min(1, value / longest):.1f}%" title="{value:.2f}"></div>'
            for value in values
        )
        first = f"{values[0]:.2f}" if values else ""
        lines.append(f"<span>{escape(name)}</span><div>{each}</div><b>{first}</b>")
    body = "\n".join(lines)
    below = f"<figcaption>{escape(caption)}</figcaption>"
    return f'<figure><div class="bars">{body}</div>{below}</figure>'
