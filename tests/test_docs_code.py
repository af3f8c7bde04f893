"""What the documentation says in code is so: commands parse; files, modules, functions, options exist."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import re
import shlex
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import tyro

from interp.reports.pages import command as report_command
from tests.documentation import (
    OURS,
    PAGES,
    ROOT,
    SOURCES,
    commands,
    defined,
    fenced,
    inline,
    named,
    parameters,
)

REFERENCE = re.compile(r":(?:func|mod|class|meth|data|attr):`~?\.?([\w.]+)`")
FLAG = re.compile(r"--[a-z][\w-]*\w")
# Of other programs: accelerate and torchrun, pytest, pip, and the tools that the tests call.
OTHERS = {
    "--config_file",
    "--help",
    "--version",
    "--max-restarts",
    "--no-color",
    "--nproc_per_node",
    "--num_processes",
    "--no-deps",
    "--target",
    "--write-real",
}
# Libraries' names and pieces of code that are shown without being ours.
FOREIGN = {
    "generic_activation_patch",
    "exact_match",
    "apply_chat_template",
    "len",
    "ln",
    "relu",
    "mean",
    "exp",
}


@cache
def loaded(what: str) -> ModuleType:
    """Import what a command runs, without running it."""
    if what.startswith("-m "):
        name = what.removeprefix("-m ")
        return importlib.import_module("finetune.__main__" if name == "finetune" else name)
    path = ROOT / (what if "/" in what else f"analyses/{what}")
    assert path.is_file(), f"{what} does not exist"
    if path.parent.name == "analyses":
        return importlib.import_module(f"analyses.{path.stem}")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # where a script finds what lies beside it
    spec = importlib.util.spec_from_file_location(f"run_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def options_of(module: ModuleType) -> type | None:
    """Return the options of a script, if it has any."""
    package, _, name = module.__name__.rpartition(".")
    if package == "analyses":
        module = importlib.import_module(f"analyses.experiments.{name}.options")
    found = [
        value
        for key, value in vars(module).items()
        if key.endswith("Options") and getattr(value, "__module__", "") == module.__name__
    ]
    return found[0] if found else None


def words_of(arguments: str) -> list[str]:
    """Cut arguments into words: brackets are for what may be left out, ``a|b`` for a choice, ... for more."""
    text = re.sub(r"[\[\]]", " ", arguments)
    words = [word.split("|")[0] for word in shlex.split(text, comments=True)]
    while words and words[-1] == "..." and not (len(words) > 1 and words[-2].startswith("--")):
        words.pop()
    return words


@pytest.mark.parametrize(("where", "what", "arguments"), commands())
def test_commands_parse(where: str, what: str, arguments: str, tmp_path: Path) -> None:
    """Every command of pages, docstrings and notebooks is understood by the parser of what it runs."""
    if what == "-m pytest":
        assert all((ROOT / word).exists() for word in shlex.split(arguments) if not word.startswith("-"))
        return
    module, words = loaded(what), words_of(arguments)
    if what == "-m interp.report":
        if words:
            assert tyro.cli(report_command.Options, args=words).run
        return
    options = options_of(module)
    if options is None:
        assert hasattr(module, "main") or "__main__" in Path(module.__file__ or "").read_text()
        return
    words = [
        "llama-2-7b" if word == "..." and words[i - 1] == "--preset" else word for i, word in enumerate(words)
    ]
    for field in dataclasses.fields(options):
        # A command that is named in a sentence leaves out what it cannot do without.
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        given = f"--{field.name.replace('_', '-')}" in words
        if needed and not given and field.name != "runs":
            words += [f"--{field.name.replace('_', '-')}", "x"]
    if any(field.name == "runs" for field in dataclasses.fields(options)) and not arguments:
        return
    default = module._defaults(words) if what == "-m finetune" else tyro.MISSING_NONPROP
    try:
        parsed = tyro.cli(options, args=words, default=default)
    except SystemExit as error:
        pytest.fail(f"{where}: {what} {arguments} is not understood ({error})")
    if only := getattr(parsed, "only", ()):
        names = importlib.import_module("analyses.experiments.mitigations.options")._names()
        assert all(any(word in name for name in names) for word in only)


def test_there_are_commands_of_every_kind() -> None:
    """A change of layout must not leave the tests above without anything to test."""
    found = commands()
    assert len(found) > 80
    assert {what for _, what, _ in found} >= {
        "-m finetune",
        "-m interp.report",
        "benchmarks/patching.py",
    }
    assert {where for where, _, _ in found} >= {
        "README.md",
        "notebooks/05_which_data.ipynb",
        "interp/reports/pages/report.py",
    }
    scripts = {
        path.name
        for path in (ROOT / "analyses").glob("*.py")
        if 'if __name__ == "__main__"' in path.read_text()
    }
    assert scripts <= {what.rsplit("/", 1)[-1] for _, what, _ in found}, (
        "a script that no page or docstring shows"
    )


def test_options_in_a_file_are_options(tmp_path: Path) -> None:
    from analyses.experiments.popularity_splits.options import PopularitySplitsOptions
    from analyses.experiments.popularity_splits.options_file import words

    files = fenced("yaml")
    assert files
    for page, code in files:
        path = tmp_path / "options.yaml"
        path.write_text(code, encoding="utf-8")
        assert tyro.cli(PopularitySplitsOptions, args=words(path, PopularitySplitsOptions)).facts, page


@cache
def flags() -> set[str]:
    """List the options of all commands, as they are written; of switches also their contrary."""
    found = set(OTHERS)
    modules = {what for _, what, _ in commands() if what not in ("-m pytest",)}
    for what in modules:
        if (options := options_of(loaded(what))) is not None:
            found |= _flags_of(options)
    return found | _flags_of(report_command.Options)


def _flags_of(options: type) -> set[str]:
    import typing

    hints = typing.get_type_hints(options, include_extras=True)
    found = set()
    for field in dataclasses.fields(options):
        kind: Any = hints[field.name]
        given = [name for mark in getattr(kind, "__metadata__", ()) if (name := getattr(mark, "name", None))]
        kind = get_args(kind)[0] if hasattr(kind, "__metadata__") else kind
        if dataclasses.is_dataclass(kind):
            found |= _flags_of(kind)  # type: ignore[arg-type]
        name = (given or [field.name])[0].replace("_", "-")
        found |= {f"--{name}", f"--no-{name}"}
    return found


@pytest.mark.parametrize("path", [*PAGES, *SOURCES], ids=named)
def test_options_that_are_named_exist(path: Path) -> None:
    """In pages between backticks; in sources in the docstring of the module and in messages."""
    if path.suffix == ".md":
        texts = inline(path)
    else:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = [ast.get_docstring(tree) or ""]
        texts += [
            str(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.match(r"--\w.*[^-]$", node.value)
        ]
    for text in texts:
        for flag in FLAG.findall(text):
            assert flag in flags(), f"{flag} is no option ({text[:80]})"


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_files_and_modules_that_are_named_exist(path: Path) -> None:
    rooms = (*OURS, "benchmarks", "tests", "notebooks", "docs")
    for code in inline(path):
        place, _, inside = code.partition(": ")
        if re.fullmatch(rf"(?:{'|'.join(rooms)})/[\w./]*", place):
            target = ROOT / place
            assert target.exists() or target.with_suffix(".py").exists(), place
            if inside and target.suffix == ".py":
                assert (
                    f"def {inside.split('(')[0]}(" in target.read_text()
                    or f"class {inside.split(',')[0]}" in (target.read_text())
                ), code
        elif re.fullmatch(rf"(?:{'|'.join(OURS)})(?:\.\w+)+(?:\(.*\))?", code):
            resolve(code.split("(")[0])


def resolve(name: str) -> object:
    """Import the longest part of a dotted name that is a module, and look the rest up in it."""
    parts = name.split(".")
    for i in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:i]))
        except ModuleNotFoundError:
            continue
        for part in parts[i:]:
            fields = getattr(found, "__dataclass_fields__", {})
            found = fields[part] if part in fields else getattr(found, part)
        return found
    raise AssertionError(f"there is no {name}")


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_references_in_docstrings_lead_somewhere(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for name in REFERENCE.findall(path.read_text(encoding="utf-8")):
        if name.split(".")[0] in OURS:
            resolve(name)
        elif module.split(".")[0] in OURS:
            last = name.split(".")[-1]
            assert last in defined() or resolve(f"{module}.{name}") is not None, name


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_functions_that_are_named_exist_and_take_what_is_written(path: Path) -> None:
    """What a page writes as a call, ``name(argument=...)``, has that name and takes those arguments."""
    for code in inline(path):
        if not re.fullmatch(r"\w+\((?:[^()]|\([^()]*\))*\)", code):
            continue
        try:
            call = ast.parse(code.replace("...", "_"), mode="eval").body
        except SyntaxError:
            continue
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id in FOREIGN:
            continue
        found = defined().get(call.func.id)
        assert found, f"{code}: nothing of that name"
        wanted = {keyword.arg for keyword in call.keywords if keyword.arg}
        assert any((names := parameters(node)) is None or wanted <= names for node in found), code


def test_the_tree_shows_what_exists() -> None:
    """Every folder of the tree in CONTRIBUTING is there, and every folder of code is in it."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shown, above = set(), []
    for line in text.split("## The tree", 1)[1].split("```")[1].strip().splitlines():
        indent, name = re.match(r"( *)(\S+)/ ", line).groups()  # type: ignore[union-attr]
        above = [*above[: len(indent) // 2], name]
        shown.add("/".join(above).removesuffix("/<name>"))
    there = {
        str(path.parent.relative_to(ROOT))
        for package in OURS
        for path in (ROOT / package).rglob("__init__.py")
        if path.parents[1] != ROOT / "analyses" / "experiments"
    }
    assert {name for name in shown if "<" not in name} <= there
    assert there - {"analyses/experiments"} - {name for name in there if "/reports/" in name} <= shown
