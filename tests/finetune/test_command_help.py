"""What --help says: options in groups, each with a text, wrapped to the terminal, nothing lost."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

import finetune.__main__
from analyses.experiments.popularity_or_diversity.options import PopularityOrDiversityOptions
from analyses.experiments.which_data.options import WhichDataOptions
from finetune.__main__ import Options, _defaults
from finetune.common.command_help import GROUPS, PROGRAM, grouped_help, program_name
from finetune.common.command_line import parse_options
from finetune.common.errors import InputError
from interp.reports.pages import command as report
from tests.analyses.test_options import COMMANDS


@dataclass(frozen=True)
class Few:
    """A command."""

    facts: str | None = None
    """A table."""
    out: str = "runs/x"
    """Where to."""
    luck: Literal["good", "bad"] | None = None
    """Words, as many as it takes to fill a line of a terminal and to go on in the next one, and then more
    (default: good)."""


def help_of(options: type, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        parse_options(options, args=["--help"])
    assert not end.value.code
    return capsys.readouterr().out


def test_options_stand_in_groups(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = help_of(Few, capsys).splitlines()
    titles = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["input:", "of this command:", "output:"]
    assert lines[lines.index("input:") + 1 :][:2] == ["  --facts STR", "      A table."]
    assert "  --luck {good,bad}" in lines
    assert max(map(len, lines[1:])) <= 60


def test_a_command_is_called_as_the_user_called_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    root = Path(__file__).parents[2]
    for called, told in (
        (str(root / "analyses" / "which_data.py"), "python analyses/which_data.py"),
        ("analyses/which_data.py", "python analyses/which_data.py"),
        ("/somewhere/else/mine.py", "python mine.py"),
    ):
        monkeypatch.setattr(sys, "argv", [called])
        assert program_name() == told
    token = PROGRAM.set("factscope tune")
    try:
        with pytest.raises(InputError, match="Missing from factscope tune: "):
            parse_options(Options, args=[])
        with pytest.raises(SystemExit):
            parse_options(Options, args=["--help"], description=finetune.__main__.__doc__)
        told = capsys.readouterr().out
        assert "factscope tune --base" in told
        assert " python -m finetune" not in told
    finally:
        PROGRAM.reset(token)


def test_names_of_before_are_understood() -> None:
    for options, name, old, new in (
        (WhichDataOptions, "share", "--keep=0.25", "--share=0.25"),
        (PopularityOrDiversityOptions, "relations", "--relations=2", "--relation-counts=2"),
        (report.Options, "verdict_run", "--verdicts=a", "--verdict-run=a"),
    ):
        needed = ["--base", "b", "--facts", "f"] if options is WhichDataOptions else []
        needed += ["r"] if options is report.Options else []
        found = [getattr(parse_options(options, args=[*needed, word]), name) for word in (old, new)]
        assert found[0] == found[1]


@pytest.mark.parametrize("name", [*sorted(COMMANDS), "finetune"])
def test_every_option_of_every_command_has_a_group_and_a_text(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = help_of(Options if name == "finetune" else COMMANDS[name], capsys)
    assert "(default: None)" not in told
    assert "(default: )" not in told
    assert "(default: '')" not in told
    lines = told.splitlines()
    heads = [i for i, line in enumerate(lines) if line.startswith("  --")]
    assert heads
    assert [lines[i] for i in heads if not lines[i + 1].startswith("      ")] == []


def test_what_tune_says_of_its_defaults_is_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    told = " ".join(help_of(Options, capsys).split())

    def of(option: str) -> str:
        return told.split(f" {option} ", 1)[1].split(" --", 1)[0]

    for option, words in (
        ("--steps INT", "without one epochs count, unless this is given)."),
        ("--epochs FLOAT", "without one 10, unless"),
        ("--dtype {float32,bfloat16}", "bfloat16 for LoRA on a CPU that is much faster in it"),
    ):
        assert words in of(option)
        assert "(default: " not in of(option)
    base = ["--base", "b", "--facts", "f", "--out", "o"]
    assert _defaults(base).tune.epochs == 10
    assert _defaults([*base, "--steps", "7"]).tune.epochs is None


def test_a_group_has_no_option_twice() -> None:
    names = [name for group in GROUPS.values() for name in group.split()]
    assert len(names) == len(set(names))
    assert grouped_help("usage: x\n\nDoes.", 80) == "usage: x\n\nDoes."
