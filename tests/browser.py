"""Pages opened in headless Chromium, for tests marked `browser`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
"""Debian's. Playwright would download a browser of its own, which is not wanted."""

SECONDS = 30

ABOUT_SPEED = ("GPU stall due to ReadPixels", "faster with the willReadFrequently attribute")
"""What Chromium says of every surface in space that is drawn without a graphics card: that it could
be drawn faster."""


@contextmanager
def opened(path: str | Path, width: int = 1400, dark: bool = False) -> Iterator[Page]:
    """Open a page as a person does; every figure has been drawn.

    Fails, when it is closed, if a figure was not drawn, if the console showed anything, or if
    anything but the file was asked for.
    """
    assert Path(CHROMIUM).exists(), (
        f"no browser at {CHROMIUM}: install Debian's chromium, or name another Chromium in the "
        "environment variable CHROMIUM"
    )
    address = Path(path).resolve().as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        said: list[str] = []
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("request", lambda request: said.append(f"request: {request.url}"))
        page.goto(address)
        page.wait_for_selector("html[data-drawn=true]", timeout=1000 * SECONDS, state="attached")
        yield page
        page.wait_for_timeout(50)
        assert [
            line
            for line in said
            if line != f"request: {address}"
            and "data:" not in line
            and not any(remark in line for remark in ABOUT_SPEED)
        ] == []
        places = page.locator(".plot")
        empty = [k for k in range(places.count()) if not places.nth(k).locator("svg").count()]
        assert empty == [], f"figures {empty} were not drawn"
        browser.close()
