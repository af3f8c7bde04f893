"""Notebooks run from a fresh cache, on less than for a reader, and are committed as one should see them."""

from __future__ import annotations

import base64
import importlib.util
import os
import re
import struct
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat import NotebookNode

from finetune.checkpoints.shipped_models import shipped_checkpoint
from finetune.common.errors import InputError

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 300_000  # bytes
# Runs before a notebook's first cell: its world is smaller than a reader's.
SMALLER = """from dataclasses import replace
from finetune.training.presets import WORLDS
made = WORLDS["small"]
WORLDS["small"] = replace(
    made,
    world=replace(made.world, subjects=120),
    base=replace(made.base, steps=350),
    tune=replace(made.tune, steps=30),
)
del replace, WORLDS, made
"""
# What a notebook trains and asks itself, and how much less of it does.
LESS = {
    "07_real_model": {
        "limit=80": "limit=40",
        "steps=8, batch=16, check_every=8": "steps=2, batch=4, check_every=2",
        "(0, 4)": "(0, 2)",
    }
}
PLACES = re.compile(r"/(?:home|root|Users|tmp|work|private|var)/|[A-Z]:\\\\|ipykernel_\d+|0x[0-9a-f]{8,}")


@pytest.fixture(scope="session")
def executor() -> ModuleType:
    spec = importlib.util.spec_from_file_location("execute_notebooks", FOLDER / "execute.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fresh_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache that holds nothing at first and that all workers of a test run share."""
    ours = tmp_path_factory.getbasetemp()
    return (ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours) / "notebook_cache"


def test_there_are_notebooks():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06", "07"]


def smaller(path: Path, folder: Path) -> Path:
    """Write what a notebook does, in a smaller world or on fewer facts, as a notebook; return its path."""
    book = nbformat.read(path, as_version=4)
    for much, less in LESS.get(path.stem, {}).items():
        assert sum(much in cell.source for cell in book.cells) == 1, f"{path.name} has other sizes by now"
        for cell in book.cells:
            cell.source = cell.source.replace(much, less)
    if any("quick_world()" in cell.source for cell in book.cells):
        first = next(cell for cell in book.cells if cell.cell_type == "code")
        first.source = SMALLER + first.source
    nbformat.write(book, folder / path.name)
    return folder / path.name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(
    path: Path, executor: ModuleType, fresh_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import matplotlib

    # Fonts are listed once a machine, not once a test.
    monkeypatch.setenv("MPLCONFIGDIR", matplotlib.get_configdir())
    if "smollm2-135m" in path.read_text(encoding="utf-8"):
        try:
            shipped_checkpoint("smollm2-135m")
        except InputError as reason:
            pytest.skip(f"needs the real model: {reason}")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", str(fresh_cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    book = executor.executed(smaller(path, tmp_path))
    assert_ends_in_a_picture(executor.cleaned(book))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed(path: Path, executor: ModuleType):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert path.stat().st_size < LARGEST
    assert executor.cleaned(book) == nbformat.read(path, as_version=4)
    counts = [cell.execution_count for cell in book.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    for cell in book.cells:
        for output in cell.get("outputs", ()):
            assert output.output_type != "error"
            told = "".join(str(v) for k, v in output.get("data", {}).items() if k != "image/png")
            assert not PLACES.search(told + str(output.get("text", "")))
    assert_ends_in_a_picture(book)


def assert_ends_in_a_picture(book: NotebookNode) -> None:
    """Look for a picture of some size in the last cell of code."""
    last = [cell for cell in book.cells if cell.cell_type == "code"][-1]
    pictures = [o.data["image/png"] for o in last.outputs if "image/png" in o.get("data", {})]
    assert pictures
    content = base64.b64decode(pictures[-1])
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert width > 200
    assert height > 80
