"""The package that people install: names of both floors, and the command with its subcommands."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import factscope
import finetune
import interp
from factscope import cli
from finetune.common.command_help import PROGRAM

ROOT = Path(__file__).parents[1]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "factscope", *words], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("package", [finetune, interp], ids=lambda package: package.__name__)
def test_every_public_name_is_offered_and_is_the_same_object(package) -> None:
    assert package.__all__
    for name in package.__all__:
        assert getattr(factscope, name) is getattr(package, name)
        assert name in dir(factscope)


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = factscope.nothing


def test_importing_the_package_loads_no_library_of_models() -> None:
    code = (
        "import factscope, sys; print([m for m in ('torch', 'transformers', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_script_has_a_command_and_every_command_a_script() -> None:
    scripts = {
        f"analyses.{path.stem}"
        for path in (ROOT / "analyses").glob("*.py")
        if 'if __name__ == "__main__"' in path.read_text()
    }
    others = {"factscope.fetch", "finetune", "interp.report"}
    assert {module for module, _ in cli.COMMANDS.values()} == scripts | others
    for module, _ in cli.COMMANDS.values():
        assert import_module(module)


def test_help_version_and_a_mistake() -> None:
    assert all(name in run("--help").stdout for name in cli.COMMANDS)
    assert run("--version").stdout == f"factscope {factscope.__version__}\n"
    wrong = run("imbalence")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: 'imbalence' is no command; choose choose, tune, ")
    assert "--seeds" in run("mixture", "--help").stdout


def test_help_begins_with_the_three_commands_and_shows_no_former_name() -> None:
    shown = [line.split()[0] for line in cli.usage().splitlines() if line.startswith("  ")]
    assert shown[:3] == ["choose", "tune", "diagnose"]
    assert shown == list(cli.COMMANDS)
    assert not set(cli.ALIASES) & set(shown)


def test_a_command_is_its_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--run", str(tmp_path / "nothing"), "--out", str(tmp_path / "out"))
    script = subprocess.run(
        [sys.executable, str(ROOT / "analyses/stored_or_suppressed.py"), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    monkeypatch.setattr(sys, "argv", ["factscope"])
    status = cli.main(["verdict", *words])
    assert (status, capsys.readouterr().err) == (script.returncode, script.stderr)
    assert status == 2
    assert (sys.argv, PROGRAM.get()) == (["factscope"], "")  # what is called next in a notebook has its own
