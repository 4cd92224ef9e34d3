"""A report's page in a real browser: on a desk and on a phone, light and dark."""

from __future__ import annotations

import shutil
from pathlib import Path

from conftest import missing

BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
BACKGROUNDS = {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 27)"}


def look_at(path: Path) -> None:
    """Opens a page as four readers would, clicks, and checks what they see; skips visibly where
    there is no browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("no package playwright")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        missing(f"none of {', '.join(BROWSERS)}; Debian's package is chromium-headless-shell")
    said: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for width in (1280, 390):
            for scheme, background in BACKGROUNDS.items():
                page = browser.new_page(
                    viewport={"width": width, "height": 800}, color_scheme=scheme
                )
                page.on("console", lambda each: said.append(each.text))
                page.on("pageerror", lambda each: said.append(str(each)))
                page.on("requestfailed", lambda each: said.append(each.url))
                page.goto(path.as_uri())
                assert page.locator("h1").is_visible()
                assert page.locator(".summary li").count() >= 3
                assert page.locator("figure").first.is_visible()
                assert page.locator("table:visible").count() == 0, "tables are folded"
                page.locator("details > summary").first.click()
                header = page.locator("table:visible").first.locator("th").nth(1)
                header.click()
                assert header.get_attribute("aria-sort") == "ascending"
                colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert colour == background
                page.evaluate("for (const e of document.querySelectorAll('details')) e.open = true")
                wide, screen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
                assert wide <= screen, f"wider than the screen of {width}"
        browser.close()
    assert said == []
