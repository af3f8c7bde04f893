"""The floor plan: imports go one way between packages and between folders, and stand at the top."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("factscope", "analyses", "interp", "finetune")
ABOVE = {
    "finetune": {"factscope", "interp", "analyses"},
    "interp": {"factscope", "analyses"},
    "analyses": {"factscope"},
    "factscope": {"analyses"},
}
# Launchers import their work when the options are known.
LAUNCHERS = {"__main__.py", "__init__.py", "cli.py", "command.py"}
LIGHT = (
    "finetune.__main__",
    "interp.report",
    "factscope.cli",
    "analyses.common.cli",
    "analyses.attention_imbalance",
    "analyses.popularity_splits",
    "analyses.which_data",
    "analyses.mitigations",
)
HEAVY = set("torch transformers peft pandas datasets scipy sklearn matplotlib transformer_lens".split())


@cache
def modules() -> dict[str, Path]:
    """Map every module to its file."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imported(path: Path, *, top: bool = False) -> set[str]:
    """List what a file imports: all of it, type checking included, or only what importing it runs."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in tree.body if top else ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names.add(full if full in modules() else node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def folder(module: str) -> str:
    return ".".join(modules()[module].relative_to(ROOT).parent.parts)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_no_package_above_it(package: str) -> None:
    for module, path in modules().items():
        if module.split(".")[0] == package:
            for name in imported(path):
                assert name.split(".")[0] not in ABOVE[package], f"{module} imports {name}"
            if package == "finetune":
                assert not any(name.startswith("transformer_lens") for name in imported(path)), module


def test_folders_import_each_other_in_no_circle() -> None:
    below: dict[str, set[str]] = defaultdict(set)
    for module, path in modules().items():
        for name in imported(path):
            if name in modules() and folder(name) != folder(module):
                below[folder(module)].add(folder(name))
    done: set[str] = set()

    def visit(room: str, way: tuple[str, ...]) -> None:
        assert room not in way, " -> ".join((*way[way.index(room) :], room))
        if room not in done:
            for other in sorted(below[room]):
                visit(other, (*way, room))
            done.add(room)

    for room in sorted(below):
        visit(room, ())
    assert len(done) > 30


def test_every_experiment_has_a_script_of_its_name() -> None:
    scripts = {
        path.stem
        for path in (ROOT / "analyses").glob("*.py")
        if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    rooms = {path.parent.name for path in (ROOT / "analyses" / "experiments").glob("*/__init__.py")}
    assert scripts == rooms


@pytest.mark.parametrize("module", LIGHT)
def test_options_are_known_before_a_library_of_models_is_imported(module: str) -> None:
    seen: set[str] = set()
    queue = [module]
    while queue:
        name = queue.pop()
        if name in seen or name not in modules():
            continue
        seen.add(name)
        found = imported(modules()[name], top=True)
        heavy = {one.split(".")[0] for one in found} & HEAVY
        assert not heavy, f"{module} imports {heavy} by {name}"
        parts = name.split(".")
        queue += [*found, *(".".join(parts[:i]) for i in range(1, len(parts)))]


def test_imports_inside_functions_are_few() -> None:
    """But for launchers only what --help must not load is imported inside a function."""
    inside, lines = 0, 0
    for path in modules().values():
        if path.name in LAUNCHERS or path.parent.name == "analyses":
            continue
        text = path.read_text(encoding="utf-8")
        lines += text.count("\n")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                inside += sum(isinstance(part, ast.Import | ast.ImportFrom) for part in ast.walk(node))
    assert inside < 4 * lines / 1000


def public_functions(path: Path) -> list[tuple[str, list[str], str]]:
    """List a module's public functions and methods: name, parameters without self, docstring."""
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        inner = node.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_") else [node]
        for part in inner:
            if isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
                a = part.args
                every = [*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg]
                names = [one.arg for one in every if one is not None and one.arg not in ("self", "cls")]
                found.append((part.name, names, ast.get_docstring(part) or ""))
    return found


def undescribed(names: list[str], docstring: str) -> list[str]:
    """List the parameters that a docstring's ``Args:`` leaves out; none where there are fewer than four."""
    _, _, rest = docstring.partition("Args:\n")
    said = set(re.findall(r"^ {4}(\w+): \S", rest, re.M))
    return [] if len(names) < 4 else [name for name in names if name not in said]


def test_four_parameters_or_more_are_described() -> None:
    left = {
        f"{module}.{name}": missing
        for module, path in modules().items()
        for name, names, docstring in public_functions(path)
        if (missing := undescribed(names, docstring))
    }
    assert left == {}


def test_the_count_of_parameters_sees_what_is_left_out() -> None:
    text = "Do it.\n\nArgs:\n    a: one.\n    b: two,\n        more.\n    d: four.\n\nRaises:\n    Error: c."
    assert undescribed(["a", "b", "c", "d"], text) == ["c"]
    assert undescribed(["a", "b", "c", "d"], "Do it.") == ["a", "b", "c", "d"]
    assert undescribed(["a", "b", "c"], "Do it.") == []


@pytest.mark.parametrize(
    ("words", "file"),
    [
        ("bootstrap", "interp/stats/bootstrap.py"),
        ("verdict prompt", "interp/verdicts/prompts.py"),
        ("lora switch", "interp/models/lora_switch.py"),
        ("measure attention", "interp/measures/attention.py"),
        ("page table", "interp/reports/pages/"),
        ("measure placebo", "interp/measures/placebos.py"),
        ("load facts", "finetune/data/load_facts.py"),
        ("data/split", "finetune/data/splits.py"),
        ("learning rate", "finetune/training/learning_rate.py"),
        ("base know", "interp/verdicts/base_knowledge.py"),
        ("verdict control", "interp/verdicts/controls.py"),
        ("hidden knowledge", "interp/measures/hidden_knowledge.py"),
        ("common/seed", "finetune/common/seeds.py"),
        ("preset", "finetune/training/presets.py"),
    ],
)
def test_a_look_up_by_name_leads_to_the_file(words: str, file: str) -> None:
    """All words are in its path, the last one in its own name."""
    paths = [path.relative_to(ROOT).as_posix() for path in modules().values()]
    last = re.split("[ /]", words)[-1]
    found = [p for p in paths if last in Path(p).stem and all(word in p for word in words.split())]
    assert found
    assert all(path.startswith(file) for path in found)


LONGEST_MODULE, LONGEST_FUNCTION = 260, 50  # lines


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_and_functions_fit_on_a_few_screens(package: str) -> None:
    long = []
    for path in sorted((ROOT / package).rglob("*.py")):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT)
        if (lines := text.count("\n")) > LONGEST_MODULE:
            long.append(f"{name}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    long.append(f"{name}:{node.lineno}: {node.name} has {length} lines")
    assert not long, "split them, or say in fewer lines what they do"
