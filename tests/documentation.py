"""What pages, docstrings and notebooks say in code: commands, files, modules, functions, options."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from factscope.cli import ALIASES, COMMANDS

ROOT = Path(__file__).parents[1]
OURS = ("factscope", "finetune", "interp", "analyses")
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
SOURCES = sorted(path for room in (*OURS, "benchmarks", "notebooks") for path in (ROOT / room).rglob("*.py"))
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.M | re.S)
# A command of ours, after what launches it and behind what is set for it alone.
_LAUNCHED = re.compile(
    r"^(?:\w+=\S+ )*(?:(?:accelerate launch|torchrun)\b.*?(?= -m | analyses/)|(?:\S*/)?python3?)? ?"
    r"(?P<what>-m (?:finetune|interp\.report|analyses[\w.]*|pytest)"
    r"|(?:analyses|benchmarks|notebooks)/\w+\.py|\w+\.py)"
    r"(?P<rest>(?: .*)?)$"
)

_SHORT = re.compile(r"^factscope ([a-z]+)(?= .*--| --)")


def _launch_of(found: re.Match[str]) -> str:
    """Name the script that a short command runs."""
    module = COMMANDS.get(ALIASES.get(found[1], found[1]), (found[0], ""))[0]
    if module.startswith("analyses."):
        return f"python {module.replace('.', '/')}.py"
    return f"python -m {module}"


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def fenced(language: str) -> list[tuple[str, str]]:
    """Find all code of a language in the pages: (page, code)."""
    return [
        (named(path), code)
        for path in PAGES
        for found, code in FENCE.findall(path.read_text(encoding="utf-8"))
        if found == language
    ]


def inline(path: Path) -> list[str]:
    """List what stands between single backticks in a page, fences aside, lines joined."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]


def cells_of(row: str) -> list[str]:
    """Cut a row of a Markdown table into its cells."""
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def rows_under(path: Path, header: str) -> list[list[str]]:
    """Return the rows of the table of a page whose first line begins so."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(header))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(cells_of(line))
    return rows


def commands() -> list[tuple[str, str, str]]:
    """Find each command of ours: (where, what is run, its arguments); lines joined, comments cut."""
    found = []
    for where, line in _lines():
        line = _SHORT.sub(_launch_of, line)
        told = _LAUNCHED.match(" ".join(re.sub(r"\s#.*", "", line).split(" ")).strip())
        # A file that is only named is no command.
        if told and (told["what"].startswith("-m") or line.startswith(told["what"]) <= bool(told["rest"])):
            found.append((where, told["what"], told["rest"].strip()))
    return sorted(set(found))


def _lines() -> Iterator[tuple[str, str]]:
    for page, code in [*fenced("bash"), *_of_notebooks()]:
        for line in code.replace("\\\n", " ").splitlines():
            yield page, line + '"' * (line.count('"') % 2)  # an argument of several lines
    for path in PAGES:
        for code in inline(path):
            yield named(path), code
    for path in SOURCES:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        for line in text.splitlines():
            if line.startswith("    "):
                yield named(path), line.strip()


def _of_notebooks() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                for language, code in FENCE.findall("".join(cell["source"])):
                    if language == "bash":
                        yield named(path), code


@cache
def defined() -> dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    """Return every function and class of the tree, by name."""
    found: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]] = {}
    for path in [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.setdefault(node.name, []).append(node)
    return found


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> set[str] | None:
    """List what a function, or a dataclass, takes by name; None where it takes anything."""
    if isinstance(node, ast.ClassDef):
        own = {
            item.target.id
            for item in node.body
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        }
        inherited = [
            parameters(base)
            for name in node.bases
            if isinstance(name, ast.Name)
            for base in defined().get(name.id, ())
        ]
        return own.union(*(names or set() for names in inherited))
    if node.args.kwarg:
        return None
    return {arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
