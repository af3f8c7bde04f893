"""What MkDocs does besides: README, CONTRIBUTING and the notebooks become pages, and their links work.

One text serves GitHub and the site. Its links are written for GitHub, relative to the file they stand in, and
are rewritten here where the site has that file in another place.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# Files of the repository that the site has as pages.
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s#:]+)(#[^)\s]*)?\)")
ROLE = re.compile(r":(?:func|class|mod|meth|attr):(?=<)")


def on_files(files: Files, config: Any) -> Files:
    """Add the repository's own pages and its notebooks."""
    for source, page in PAGES.items():
        files.append(_page(config, page, (ROOT / source).read_text(encoding="utf-8"), source))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        source = f"notebooks/{path.name}"
        files.append(_page(config, f"notebooks/{path.stem}.md", notebook(path), source))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite links of pages that lie in docs/ on GitHub as on the site."""
    source = f"docs/{page.file.src_uri}"
    return markdown if page.file.generated_by else relinked(markdown, source, page.file.src_uri)


def on_page_content(html: str, **_: Any) -> str:
    """Drop the roles of reStructuredText that docstrings carry; the name in code style remains."""
    return ROLE.sub("", html)


def relinked(markdown: str, source: str, page: str) -> str:
    """Turn links relative to a file of the repository into links relative to a page of the site."""

    def moved(match: re.Match[str]) -> str:
        label, target, anchor = match[1], match[2], match[3] or ""
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if place in PAGES:
            there = PAGES[place]
        elif place.endswith(".ipynb"):
            there = place.removesuffix(".ipynb") + ".md"
        elif place.startswith("docs/"):
            there = place.removeprefix("docs/")
        else:
            # Code and licence are no part of the site: their name remains, the link goes.
            return label.removeprefix("[").removesuffix("]") if (ROOT / place).exists() else match[0]
        return f"{label}({posixpath.relpath(there, posixpath.dirname(page) or '.')}{anchor})"

    parts = re.split(r"(```.*?```)", markdown, flags=re.S)
    return "".join(part if part.startswith("```") else LINK.sub(moved, part) for part in parts)


def notebook(path: Path) -> str:
    """Write a notebook with its outputs as Markdown: tables as they are, pictures inline."""
    parts: list[str] = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        parts += [shown for output in cell.get("outputs", ()) if (shown := _output(output))]
    return "\n\n".join(parts)


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        picture = "".join(data["image/png"]).replace("\n", "")
        described = "".join(data.get("text/plain", "")).replace("\n", " ").replace('"', "'")
        shown = "" if described.startswith("<") else described
        return f'<img alt="{shown}" src="data:image/png;base64,{picture}">'
    if "text/html" in data:
        table = re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.S)
        return re.sub(r"\n\s*", "", table).replace(' border="1" class="dataframe"', "")
    text = "".join(data.get("text/plain", "") or output.get("text", "")).rstrip()
    return f"```text\n{text}\n```" if text else ""


def _page(config: Any, page: str, text: str, source: str) -> File:
    return File.generated(config, page, content=relinked(text, source, page))
