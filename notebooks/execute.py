"""Execute notebooks and write them back with outputs that are small and the same on every machine.

    python notebooks/execute.py              # all of them
    python notebooks/execute.py 01 04        # those whose names begin so

Run it twice on a fresh machine: the first time trains the small world, and says so in the outputs' place.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent
LARGEST = 40_000  # characters of HTML beside a picture; what is longer is made anew when the cell is run
KEPT = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "language_info": {"name": "python"}}


def executed(path: Path, *, timeout: int = 300) -> NotebookNode:
    """Run a notebook from its first cell to its last, offline, and return it with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    book = nbformat.read(path, as_version=4)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    client = NotebookClient(book, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(HERE)}})
    return client.execute()


def cleaned(book: NotebookNode) -> NotebookNode:
    """Keep what a reader sees: no progress, no timings, no widgets' state, no page where there is a picture."""
    book.metadata = nbformat.from_dict(KEPT)
    for cell in book.cells:
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs = [kept for output in cell.outputs if (kept := _clean(output)) is not None]
    return book


def _clean(output: NotebookNode) -> NotebookNode | None:
    if output.output_type == "stream":
        return output if output.name == "stdout" else None
    data: dict[str, Any] = output.get("data", {})
    if "application/vnd.jupyter.widget-view+json" in data:
        return None
    if "image/png" in data and len("".join(data.get("text/html", ""))) > LARGEST:
        del data["text/html"]
    output.metadata = nbformat.from_dict({})
    return output


def main() -> int:
    """Execute the notebooks named on the command line, or all."""
    os.environ["FACTSCOPE_QUIET"] = "1"
    paths, wanted = sorted(HERE.glob("*.ipynb")), tuple(sys.argv[1:])
    if odd := [name for name in wanted if not any(path.name.startswith(name) for path in paths)]:
        print(f"no notebook's name begins with {odd[0]}; there are: {', '.join(path.name for path in paths)}", file=sys.stderr)
        return 1
    for path in paths:
        if not wanted or path.name.startswith(wanted):
            nbformat.write(cleaned(executed(path)), path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
