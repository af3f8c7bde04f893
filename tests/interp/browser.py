"""A browser for the tests of pages: Debian's Chromium driven by Playwright, which downloads nothing here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "FACTSCOPE_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync"
)
FOUND = os.environ.get(VARIABLE) or next((path for name in NAMES if (path := shutil.which(name))), None)
MISSING = f"no Chromium found; on Debian: apt-get install chromium, or name one in {VARIABLE}"

needs_browser = pytest.mark.skipif(FOUND is None, reason=MISSING)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start the browser once for a module: left open, other tests would find its event loop running."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=FOUND, args=FLAGS.split())
        yield started
        started.close()


@contextmanager
def opened(browser: Any, path: Path, **options: Any) -> Iterator[Any]:
    """Open a page; when done, fail if it complained of anything or asked for anything but itself."""
    context = browser.new_context(**({"viewport": {"width": 1100, "height": 900}} | options))
    context.set_default_timeout(20_000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(path.as_uri())
        yield page
        assert not complaints, complaints
        outside = [url for url in asked if url != path.as_uri() and not url.startswith(("data:", "blob:"))]
        assert not outside, outside
    finally:
        context.close()
