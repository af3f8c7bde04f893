"""The command-line shell of every script: options parsed, errors as one line, exit statuses, signals.

1. :func:`parse_options` makes options of the words of the command line; what cannot be parsed is an
   ``InputError``.
2. :func:`run_command` calls the work and says in one line on standard error what stopped it: a wrong input,
   a file that cannot be written or read, memory that does not suffice, an interruption.

An error that none of these explains is a fault of the program, and keeps its traceback for a report of it.
"""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import is_dataclass
from types import FrameType
from typing import Any, TypeVar, get_type_hints

import tyro

from finetune.common.command_help import PROGRAM, draw_help, grouped_help, program_name
from finetune.common.errors import InputError
from finetune.common.messages import printable
from finetune.common.run_settings import with_home

T = TypeVar("T")
# Names of one option, each understood where the other is meant.
SAME = (("--template", "--prompt-format"), ("--steps", "--tune-steps"), ("--seed", "--seeds"))
FORMER = (  # and names of before, each understood where only the one behind it is meant
    ("--keep", "--share"),
    ("--verdicts", "--verdict-run"),
    ("--relations", "--relation-counts"),
)
CONTINUES = "finished stages are kept, the same command continues"
LONGEST = 2000  # characters of an error's line: some name all that one can choose from
WRONG, INTERRUPTED, TERMINATED = 2, 130, 143
_OURS = tuple(f"{os.sep}{name}{os.sep}" for name in ("finetune", "interp", "analyses"))
_REMEDIES = {
    errno.ENOSPC: "free some space or name another place",
    errno.EDQUOT: "free some space or name another place",
    errno.EROFS: "name a place that can be written to",
    errno.EACCES: "check its permissions or name another place",
    errno.EPERM: "check its permissions or name another place",
    errno.EMFILE: "allow more open files (ulimit -n) or use fewer processes",
    errno.ENFILE: "allow more open files or use fewer processes",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.ELOOP: "its links lead in a circle; name another place",
    errno.EISDIR: "name a file",
    errno.ENOTDIR: "name a place below a directory",
    errno.EEXIST: "a file stands where a directory should; name another place",
    errno.EFBIG: "allow larger files (ulimit -f) or name another place",
    errno.ENOENT: "check the path",
}
# Libraries that write files in other languages than Python keep the system's words, and nothing else.
_SYSTEM = tuple(os.strerror(number) for number in _REMEDIES if number not in (errno.ENOENT, errno.EEXIST))
_WRITERS = ("PytorchStreamWriter failed", "unexpected pos ", "IoError(Os {")
_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "Cannot allocate memory")


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


def parse_options(
    options: type[T],
    *,
    args: Sequence[str] | None = None,
    description: str | None = None,
    default: Any = None,
) -> T:
    """Make options of the words of a command line.

    Args:
        options: the dataclass of the options.
        args: the words; those of the process by default.
        description: what ``--help`` says first; the dataclass's docstring by default.
        default: options that the words change; the dataclass's own by default.

    Raises:
        InputError: the words are no such options; in one line, where the parser draws a box.
        SystemExit: with 0, after ``--help``.
    """
    more = {} if default is None else {"default": default}
    args = renamed(sys.argv[1:] if args is None else args, options)
    if {"-h", "--help"} & set(args):
        told = description or options.__doc__ or ""
        if PROGRAM.get():  # a script's own examples call it as a script
            told = re.sub(r"^( *)python -m finetune\b", rf"\1{PROGRAM.get()}", told, flags=re.M)
        print(grouped_help(draw_help(options, told)))
        raise SystemExit(0)
    drawn = io.StringIO()
    try:
        with redirect_stderr(drawn):
            told = description or options.__doc__ or ""
            return with_home(tyro.cli(options, args=args, prog=program_name(), description=told, **more))
    except SystemExit as end:
        if not end.code:
            raise
        raise InputError(f"{_unbox_error(drawn.getvalue())}; --help lists the options") from None


def renamed(words: Sequence[str], options: type[Any]) -> list[str]:
    """Call options by the names that these have, where they go by another one elsewhere, or did before."""
    flags = _flags(options)
    pairs = (*FORMER, *(each for pair in SAME for each in (pair, pair[::-1])))
    named = {old: new for old, new in pairs if old not in flags and new in flags}
    parts = [(word.partition("="), word) for word in words]
    return [named[flag] + mark + value if flag in named else word for (flag, mark, value), word in parts]


def _flags(options: type[Any]) -> set[str]:
    found: set[str] = set()
    for name, annotated in get_type_hints(options, include_extras=True).items():
        kind = getattr(annotated, "__origin__", annotated)  # what Annotated annotates
        told = [more.name for more in getattr(annotated, "__metadata__", ()) if getattr(more, "name", None)]
        nested = isinstance(kind, type) and is_dataclass(kind)
        found |= _flags(kind) if nested else {f"--{(told or [name])[0].replace('_', '-')}"}
    return found


def run_command(work: Callable[[], int | None], *, continues: str = CONTINUES) -> int:
    """Call ``work`` and return the exit status: its own, or what stopped it, said in one line.

    ``continues`` says what becomes of work that was stopped; nothing where there is nothing to continue.

    Returns:
        The status of ``work`` (0 for None); 2 where something was wrong with the input, the files or the
        memory; 130 when interrupted; 143 when asked to end.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a minus sign must not end a run on an old code page
    kept = f"; {continues}" if continues else ""
    try:
        with _handle_sigterm():
            status = work() or 0
            if sys.stdout is not None:
                sys.stdout.flush()
            return status
    except InputError as error:
        return _say(f"error: {error.on_command_line}", WRONG)
    except KeyboardInterrupt:
        return _say(f"interrupted{kept}", INTERRUPTED)
    except Terminated:
        return _say(f"asked to end{kept}", TERMINATED)
    except BrokenPipeError:
        return close_broken_pipe()
    except Exception as error:
        line = explanation(error)
        if line is None:
            raise
        return _say(f"error: {line}{kept}", WRONG)


def explanation(error: BaseException) -> str | None:
    """Say in one line what the machine or the input lacked; None for a fault of the program itself."""
    cause: BaseException | None = error
    while cause is not None:
        text = printable(cause, LONGEST)
        if isinstance(cause, OSError):
            return _of_system(cause)
        if any(sign in text for sign in (*_SYSTEM, *_WRITERS)):
            return text
        if isinstance(cause, MemoryError) or any(sign in text for sign in _MEMORY):
            return f"out of memory ({printable(cause, 300) or 'of this machine'}); ask for less at a time"
        if isinstance(cause, RecursionError) and not _is_own_recursion(cause):
            return "something in the input is nested too deeply; flatten it"
        cause = cause.__cause__
    return None


def close_broken_pipe() -> int:
    """End well although whoever reads stopped early, as ``head`` does: nothing more is to be written."""
    _drop_output()
    return 0


def _say(line: str, status: int) -> int:
    """Print a line on standard error, where there is one; what standard output still holds may be lost."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        _drop_output()
    with suppress(OSError, ValueError):
        # A terminal has shown "^C" without ending its line.
        start = "\n" if status == INTERRUPTED and sys.stderr.isatty() else ""
        print(start + printable(line, LONGEST), file=sys.stderr, flush=True)
    return status


def _drop_output() -> None:
    """Send what is left to print nowhere, or Python complains of it at its end."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _of_system(error: OSError) -> str:
    told = error.strerror or str(error) or type(error).__name__
    name = error.filename2 if error.filename2 is not None else error.filename
    where = f"{printable(os.fsdecode(name), 300)}: " if isinstance(name, str | bytes | os.PathLike) else ""
    remedy = _REMEDIES.get(error.errno or 0, "")
    return printable(f"{where}{told}", LONGEST) + (f" ({remedy})" if remedy else "")


def _is_own_recursion(error: RecursionError) -> bool:
    """Whether a function of ours calls itself without end, rather than a parser that follows its input."""
    seen: Counter[str] = Counter()
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if any(part in code.co_filename for part in _OURS) and "site-packages" not in code.co_filename:
            seen[f"{code.co_filename}:{code.co_name}"] += 1
        step = step.tb_next
    return bool(seen) and max(seen.values()) > 50


def _unbox_error(text: str) -> str:
    """Take the first part of an error that the parser drew in a box, and what it suggests instead."""
    parts: list[list[str]] = [[]]
    for raw in text.splitlines():
        line = raw.strip().strip("│").strip()
        if not line or line[0] in "╭╰":
            continue
        if re.fullmatch("─+", line):
            parts.append([])
        else:
            parts[-1].append(line)
    # Of a value that may be of several types the parser lists why it is none of them.
    said = [" ".join(lines).split(" Got errors:")[0] for lines in parts if lines]
    shown = [part for i, part in enumerate(said) if i == 0 or part.startswith("Perhaps")]
    return printable("; ".join(shown) or "the options cannot be read", 600)


@contextmanager
def _handle_sigterm() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does; of several processes each is ended by its launcher."""
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if not alone or threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked child has this handler too
            os._exit(TERMINATED)
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
