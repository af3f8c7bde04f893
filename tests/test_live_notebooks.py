"""A view in a live JupyterLab: a cell is run in a browser, and its frame draws attention maps."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.documentation import ROOT
from tests.interp.browser import browser, needs_browser  # noqa: F401  # a fixture

pytestmark = [
    needs_browser,
    pytest.mark.skipif(
        importlib.util.find_spec("jupyterlab") is None, reason="no JupyterLab: pip install '.[notebooks]'"
    ),
]
CELL = """
import numpy as np
from interp.viz import attention_view_of

causal = np.tril(np.ones((2, 3, 6, 6)))
before = causal / causal.sum(-1, keepdims=True)
after = causal * np.arange(1, 7)
after = after / after.sum(-1, keepdims=True)
tokens = ["Where", " was", " Ada", " born", "?", " In"]
attention_view_of(before, after, tokens, [False, False, True, False, False, False], heads=2)
"""
STARTED, ENDED = 60.0, 180_000  # seconds; milliseconds that a cell may take on a busy machine
PATIENCE = 45.0  # seconds without a view after which the cell is run again
VIEW = ".jp-OutputArea-output iframe[srcdoc]"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a folder with one notebook, Jupyter's own files in a temporary place; return its address."""
    home = tmp_path_factory.mktemp("lab")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=[new_code_cell(CELL)], metadata=kernel), home / "view.ipynb")
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    places = {name: str(home / name.lower()) for name in names}
    words = ["--no-browser", "--ServerApp.port=0", "--IdentityProvider.token=", "--allow-root"]
    words += [f"--ServerApp.root_dir={home}", "--ServerApp.open_browser=False", "--LabApp.news_url="]
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *words],
        env={**os.environ, **places, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"{_address(server, Path(places['JUPYTER_RUNTIME_DIR']))}lab/tree/view.ipynb"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def _address(server: subprocess.Popen[bytes], runtime: Path) -> str:
    """Wait until the server says where it listens."""
    deadline = time.monotonic() + STARTED
    while time.monotonic() < deadline and server.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            try:
                return str(json.loads(path.read_text())["url"])
            except (ValueError, KeyError):
                continue  # half written
        time.sleep(0.3)
    pytest.fail("JupyterLab did not start")


def _run_first_cell(page: Any) -> None:
    """Run the cell until its view is there: before its kernel is there Shift and Enter only go to the next.

    On a busy machine JupyterLab may ask about a kernel that is slow to start, also when the cell has begun,
    and forget the cell: the default is taken, and what shows nothing for long is run again.
    """
    deadline, begun = time.monotonic() + ENDED / 1000, -PATIENCE
    ran = page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").first
    while time.monotonic() < deadline and not page.locator(VIEW).count():
        if (default := page.locator(".jp-Dialog button.jp-mod-accept")).count():
            default.first.click()
        idle = re.search(r"\d|\*", ran.inner_text()) is None
        if idle or time.monotonic() - begun > PATIENCE:
            # Not a click, for which a dialog that has just come up would be in the way to the end.
            page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.focus()
            page.keyboard.press("Shift+Enter")
            begun = time.monotonic()
        page.wait_for_timeout(1000)


def test_a_cell_runs_and_its_view_draws_both_models(lab: str, browser: Any) -> None:  # noqa: F811
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    page.set_default_timeout(ENDED)
    page.goto(lab)
    _run_first_cell(page)
    frame = page.frame_locator(VIEW).first
    frame.locator("canvas, svg").first.wait_for(state="attached")
    assert frame.locator("canvas, svg").count() >= 2
    assert frame.get_by_text("base", exact=True).count()
    sizes = frame.locator("canvas, svg").evaluate_all("all => all.map(each => each.clientWidth)")
    assert max(sizes) > 10
    page.close()


# Of VS Code's notebook webview, with notebook.experimental.enableCsp; it puts a cell's HTML in by innerHTML.
VS_CODE = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src https: http: data:; font-src https:; connect-src https:; child-src https: data:"
)


def test_a_view_draws_under_the_policy_of_vs_codes_notebooks(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    made: dict[str, Any] = {}
    exec(CELL.replace("attention_view_of(before", "view = attention_view_of(before"), made)
    html = json.dumps(made["view"]._repr_html_()).replace("</", "<\\/")
    page_file = tmp_path / "webview.html"
    page_file.write_text(
        '<!doctype html><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{VS_CODE}">'
        f"<div id=out></div><script>document.getElementById('out').innerHTML = {html};</script>",
        encoding="utf-8",
    )
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    page.set_default_timeout(ENDED)
    page.goto(page_file.as_uri())
    frame = page.frame_locator("iframe[srcdoc]").first
    frame.locator("canvas, svg").first.wait_for(state="attached")
    assert frame.locator("canvas, svg").count() >= 2
    page.close()
