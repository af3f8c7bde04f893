"""What a script prints, and where: the result alone on standard output, everything else on standard error."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.box import SIMPLE_HEAD
from rich.table import Table

from analyses.common.cli import as_json, launch, plain_text
from analyses.common.options import RunOptions, TrainingOptions
from finetune.common import progress
from finetune.common.errors import InputError
from finetune.common.progress import progress_bar

SCRIPT = Path(__file__).parents[2] / "analyses" / "attention_imbalance.py"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*(?:3[0-8]|4[0-8]|9[0-7])(?:;[0-9]+)*m")
DRAWN = re.compile("[\u2500-\u259f]")  # lines, corners and blocks


@dataclass(frozen=True, kw_only=True)
class Shown(RunOptions):
    """A script that does next to nothing."""

    out: Path = Path("run")
    """Run directory."""
    fail: str = ""
    """What to fail with."""


def run(options: Shown) -> Path:
    """Print carelessly, as a library might, and leave numbers."""
    if options.fail == "input":
        raise InputError("--fail input: give another one")
    if options.fail == "disk":
        raise OSError(28, "No space left on device")
    if options.fail == "interrupt":
        raise KeyboardInterrupt
    print("a library's chatter")
    with progress_bar("Working [hard]", total=3) as advance:
        advance(3)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text('{"gap": {"value": 1.5, "low": 1.0, "high": 2.0, "n": 3}}')
    return options.out


def show(out: Path) -> Table:
    table = Table(title="A finding", box=SIMPLE_HEAD, caption="Said of n = 3")
    table.add_column("arm")
    table.add_column("a column whose name is a long one, to be neither cut nor wrapped" * 2)
    table.add_row("top", "−1.5 [1]")
    return table


@pytest.fixture
def called(tmp_path, monkeypatch, capsys):
    """Call the little script with some arguments: exit status, standard output, standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["script.py", "--out", str(tmp_path / "run"), *arguments])
        for name in ("NO_COLOR", "FACTSCOPE_QUIET"):
            monkeypatch.delenv(name, raising=False)
        status = launch(Shown, run, show)
        return (status, *capsys.readouterr())

    # launch sets these for the process; put back what was there.
    for name in ("NO_COLOR", "FACTSCOPE_QUIET"):
        monkeypatch.setenv(name, "")
    return call


def test_a_pipe_gets_the_table_alone_in_plain_lines(called, tmp_path):
    status, out, err = called()
    assert status == 0
    assert not ESCAPE.search(out + err)
    assert not DRAWN.search(out + err)
    rows = [line for line in out.splitlines() if line.startswith("|")]
    assert len(rows) == 3  # names, a rule, one arm: nothing wrapped
    assert [cell.strip() for cell in rows[2].split("|")[1:3]] == ["top", "−1.5 [1]"]
    assert out.startswith("A finding\n")
    assert out.endswith(f"Report: {tmp_path / 'run' / 'report.html'}\n")
    assert "chatter" in err
    assert "Working [hard] (3)" in err


def test_long_work_says_in_plain_lines_how_long_is_left(monkeypatch, capsys):
    monkeypatch.delenv("FACTSCOPE_QUIET", raising=False)  # another test of this process may have set it
    clock = iter([0.0, 10.0, 21.0, 25.0, 100.0, 1000.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with progress_bar("Working", total=100) as advance:
        for done in (5, 10, 20, 50, 100):
            advance(done)
    told = capsys.readouterr().err.splitlines()
    assert told == ["Working (100)", "Working (10 of 100, 3 min left)", "Working (50 of 100, 2 min left)"]


def test_json_is_one_object_and_nothing_else(called, tmp_path):
    status, out, err = called("--json")
    told = json.loads(out)
    assert status == 0
    assert told["run"] == str(tmp_path / "run")
    assert told["finding"] == "A finding"
    assert told["results"] == {"gap": {"value": 1.5, "low": 1.0, "high": 2.0, "n": 3}}
    assert "Working [hard]" in err


def test_quiet_prints_no_progress_and_no_table_but_the_json_asked_for(called):
    assert called("--quiet") == (0, "", "a library's chatter\n")
    _, out, err = called("--quiet", "--json")
    assert json.loads(out)["finding"] == "A finding"
    assert err == "a library's chatter\n"


@pytest.mark.parametrize(
    ("fail", "status", "told"),
    [("input", 2, "--fail input"), ("disk", 2, "No space left"), ("interrupt", 130, "interrupted")],
)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_failure_is_one_line_on_standard_error(called, fail, status, told, form):
    got, out, err = called("--fail", fail, *form)
    assert got == status
    assert out == ""
    assert told in err
    assert len(err.strip().splitlines()) == 1


def test_what_is_shown_cannot_change_a_number(tmp_path):
    plain = TrainingOptions()
    shown = TrainingOptions(out=tmp_path, cache=tmp_path, quiet=True, json=True, color=False)
    assert shown.config() == plain.config()


def test_claims_are_told_where_there_are_some(tmp_path):
    (tmp_path / "claims.json").write_text('[{"claim": "x", "outcome": "supported"}]')
    told = as_json(tmp_path, "no table")
    assert told["claims"] == [{"claim": "x", "outcome": "supported"}]
    assert told["finding"] == ""


def test_plain_text_stays_as_it_is():
    assert plain_text("[bold]not markup") == "[bold]not markup"


@dataclass(frozen=True)
class Terminal:
    """A script's run in a pseudo-terminal of 100 columns."""

    text: str
    status: int


def in_terminal(command: list[str]) -> Terminal:
    pty = pytest.importorskip("pty", reason="no pseudo-terminals on this system")
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    unset = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "FACTSCOPE_QUIET"}
    inherited = {k: v for k, v in os.environ.items() if k not in unset}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**inherited, "TERM": "xterm"}
    )
    os.close(theirs)
    parts: list[bytes] = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    return Terminal(text=b"".join(parts).decode(), status=process.wait())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("terminal")
    quick = ["--world", "tiny", "--pretrain-steps", "60", "--tune-steps", "10"]
    return [
        sys.executable,
        str(SCRIPT),
        *quick,
        "--out",
        str(folder / "run"),
        "--cache",
        str(folder),
    ]


def test_a_reader_may_stop_early(world):
    process = subprocess.Popen([*world, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0


LITTLE = """
import sys
from tests.analyses.test_shell import Shown, launch, run, show
sys.exit(launch(Shown, run, show))
"""


def test_a_terminal_gets_lines_and_colours_unless_told_otherwise(tmp_path, monkeypatch):
    """That rich heeds NO_COLOR, which --no-color sets, is rich's own affair."""
    monkeypatch.setenv("PYTHONPATH", str(SCRIPT.parents[1]))
    little = [sys.executable, "-c", LITTLE, "--out", str(tmp_path / "run")]
    shown = in_terminal(little)
    assert shown.status == 0
    assert ESCAPE.search(shown.text)
    assert DRAWN.search(shown.text)
    assert "top" in ESCAPE.sub("", shown.text)
    plain = in_terminal([*little, "--no-color"])
    assert plain.status == 0
    assert not COLOUR.search(plain.text)


def test_a_script_from_the_shell(world, monkeypatch):
    """Run once with --json, then take the finished run to a pipe."""
    monkeypatch.delenv("FACTSCOPE_QUIET", raising=False)  # another test of this process may have set it
    asked = subprocess.run([*world, "--json"], capture_output=True, text=True, check=True)
    told = json.loads(asked.stdout)
    assert {"run", "report", "finding", "claims", "results"} <= set(told)
    assert told["results"] == json.loads((Path(told["run"]) / "results.json").read_text())
    assert "Pretraining the base" in asked.stderr
    assert not ESCAPE.search(asked.stderr)

    piped = subprocess.run(world, capture_output=True, text=True, check=True)
    assert not ESCAPE.search(piped.stdout)
    assert not DRAWN.search(piped.stdout)
    assert piped.stdout.startswith(told["finding"])
    assert any(line.startswith("| top") for line in piped.stdout.splitlines())
