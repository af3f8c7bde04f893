"""The shell of every command: what stops a run is one line and a status, and faults keep their traceback."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from finetune.common import files
from finetune.common.command_line import INTERRUPTED, LONGEST, TERMINATED, WRONG, parse_options, run_command
from finetune.common.errors import InputError
from finetune.common.messages import printable, without_controls

ROOT = Path(__file__).parents[2]


def stopped(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run something that raises; return the status and the one line that is said."""

    def work() -> None:
        raise error

    status = run_command(work)
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert len(said.err) <= LONGEST + 1
    assert without_controls(said.err[:-1], "?") == said.err[:-1]
    return status, said.err


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (InputError("--steps 0: give more"), WRONG, "error: --steps 0: give more"),
        (InputError("a\nb\x1b[31mc\u202e"), WRONG, "error: a bc"),
        (InputError("x" * 10**6), WRONG, "xxx"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted; finished stages are kept"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/a"), WRONG, "runs/a: No space left"),
        (OSError(errno.EROFS, "Read-only file system", "a"), WRONG, "name a place that can be written to"),
        (PermissionError(errno.EACCES, "Permission denied", "a\nb"), WRONG, "a b: Permission denied"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "tmp", None, "out.md"), WRONG, "out.md: Is a dir"),
        (OSError(errno.EMFILE, "Too many open files"), WRONG, "ulimit -n"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 9999), WRONG, "use a shorter name"),
        (OSError(errno.ELOOP, "Too many levels of symbolic links", "a"), WRONG, "lead in a circle"),
        (OSError("Can't load\nthe model"), WRONG, "error: Can't load the model"),
        (RuntimeError("Error while serializing: No space left on device (os error 28)"), WRONG, "No space"),
        (RuntimeError("[enforce fail] PytorchStreamWriter failed writing file"), WRONG, "PytorchStream"),
        (MemoryError(), WRONG, "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\n2 GiB"), WRONG, "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), WRONG, "out of memory"),
    ],
)
def test_what_the_machine_or_the_input_lacks_is_one_line(
    error: BaseException, status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    got, line = stopped(error, capsys)
    assert got == status
    assert told in line


@pytest.mark.parametrize(
    "error", [KeyError("a"), TypeError("b"), ValueError("c"), AssertionError(), RuntimeError("size mismatch")]
)
def test_faults_of_the_program_keep_their_traceback(error: Exception) -> None:
    def work() -> None:
        raise error

    with pytest.raises(type(error)):
        run_command(work)


def test_real_errors_of_the_system_and_the_libraries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    works = {
        "File exists": lambda: (tmp_path / "file").mkdir(),
        "Not a directory": lambda: (tmp_path / "file" / "x").write_text(""),
        "Is a directory": lambda: tmp_path.read_text(),
        "symbolic links": lambda: (tmp_path / "loop").read_text(),
        "name too long": lambda: (tmp_path / ("x" * 300)).write_text(""),
        "out of memory": lambda: np.zeros(2**60, np.int8),
        "nested too deeply": lambda: json.loads("[" * 10**6),
    }
    for told, work in works.items():
        assert run_command(work) == WRONG  # type: ignore[arg-type]
        line = capsys.readouterr().err
        assert told in line
        assert line.count("\n") == 1
    with pytest.raises(RecursionError):
        run_command(_own_recursion)


def _own_recursion() -> int:

    # A function of ours, as the program has it: a fault, whatever the input.
    space = {"__name__": "x"}
    code = compile("def f():\n    f()\n", files.__file__, "exec")
    exec(code, space)
    return space["f"]()  # type: ignore[operator]


@dataclass(frozen=True)
class Two:
    """Two options."""

    steps: int = 1
    """Steps."""
    name: str | None = None
    """A name."""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--steps", "x\x1b[31m"], "--steps: invalid literal for int"),
        (["--stepz", "1"], "--stepz"),
        (["--steps", "9" * 5000], "--steps"),
        (["one", "two\x1b]0;t\x07"], "one"),
        (["--steps"], "--steps"),
    ],
)
def test_words_that_are_no_options_are_one_line(words: list[str], told: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_options(Two, args=words)
    line = str(raised.value)
    assert told in line
    assert "--help lists the options" in line
    assert line == printable(line, 1000)
    assert not re.search("[│╭─╰]", line)


def test_options_are_parsed_and_help_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_options(Two, args=["--steps", "3"]) == Two(steps=3)
    assert parse_options(Two, args=[], default=Two(steps=5)) == Two(steps=5)
    with pytest.raises(SystemExit) as end:
        parse_options(Two, args=["--help"])
    assert not end.value.code
    assert "Two options." in capsys.readouterr().out


SCRIPT = """
import sys, time
from finetune.common.command_line import run_command
def work():
    print("x" * 10_000_000 if sys.argv[1] == "much" else "begun", flush=True)
    if sys.argv[1] == "wait":
        time.sleep(60)
sys.exit(run_command(work))
"""


def start(how: str, **more: object) -> subprocess.Popen[bytes]:
    """Start the script; Ctrl-C reaches it even where these tests run in the background, which ignores it."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(  # type: ignore[call-overload]
        [sys.executable, "-c", SCRIPT, how],
        stderr=subprocess.PIPE,
        env=env,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **more,
    )


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, TERMINATED), (signal.SIGINT, INTERRUPTED)])
def test_a_signal_ends_the_work_with_one_line(number: int, status: int) -> None:
    process = start("wait", stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == status
    assert len(said.decode().splitlines()) == 1
    assert b"the same command continues" in said


def test_a_reader_that_leaves_and_a_full_output_are_no_traceback() -> None:
    process = start("much", stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait() == 0
    if Path("/dev/full").exists():
        with Path("/dev/full").open("wb") as full:
            process = start("little", stdout=full)
            _, said = process.communicate(timeout=30)
        assert process.returncode == WRONG
        assert b"No space left on device" in said
        assert len(said.splitlines()) == 1


def test_printable_is_short_and_quick_whatever_it_is_given() -> None:
    assert printable("a\r\n\tb") == "a b"
    assert printable("\x1b]0;title\x07x") == "x"
    assert printable("zero\u200bwidth\ud800") == "zerowidth"
    assert len(printable("y" * 10**8)) == 500
    assert printable(yaml.YAMLError("é\x9b")) == "é"


@dataclass(frozen=True)
class Places:
    """Where things go."""

    out: Path = Path("here")
    cache: Path | None = None


def test_paths_begin_at_home_where_no_shell_has_written_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    made = parse_options(Places, args=["--out=~/runs/x", "--cache", "~/bases"])
    assert made == Places(out=Path("/home/ada/runs/x"), cache=Path("/home/ada/bases"))
    assert parse_options(Places, args=["--out=a~b"]) == Places(out=Path("a~b"))
