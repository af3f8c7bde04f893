"""Help of a command (``--help``): its options in groups, the same option in the same group everywhere.

The parser writes one list in the order of the classes that options are put together from. Its entries are
sorted by what they are about; what is only "default: None", which the text says in words, is left out.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import tyro

GROUPS = {
    "input": "facts columns limit phrasebook reference validation validation-share test-share yaml run "
    "checkpoints world text-field corpus seed seeds",
    "models": "base finetuned preset dtype cache",
    "asking": "prompt-format template shots chat form-shots known choices question-form popularity",
    "training": "method methods steps tune-steps batch learning-rates keep until-loss match placebo epochs "
    "rank dropout targets accumulate gradient-checkpointing trajectory save-every check-every qk-rate "
    "attention-penalty distil exponent pretrain-steps anyway",
    "machine": "batch-tokens engine workers threads address gpus retries",
    "output": "out report dropped quiet json color verdicts analyse",
}
OWN = "of this command"
PROGRAM: ContextVar[str] = ContextVar("PROGRAM", default="")  # what help calls the command; else its script
_OPTION = re.compile(r"^(-\S.*?)(?:\s{2,}(.*))?$")
_EMPTY_DEFAULT = re.compile(r"\s*\(default: (?:None|'')?\)")
_STATED_TWICE = re.compile(r"(\(default(?: of [^:)]*)?: [^)]*\).*?)\s*\(default: [^)]*\)$")
_OR_NONE = re.compile(r"\{None\}\||(?<=\{)None,")


def program_name() -> str:
    """Return how this command was called: ``factscope choose``, ``python analyses/which_data.py``.

    A path is told from the repository or from here, so that it is of no one's machine.
    """
    if named := PROGRAM.get():
        return named
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None:
        return f"python -m {spec.name.removesuffix('.__main__')}"
    script = Path(sys.argv[0] or "-")
    if script.is_absolute():
        root = Path(__file__).parents[2]
        script = script.relative_to(root) if script.is_relative_to(root) else Path(script.name)
    return shlex.join(["python", str(script)])


def draw_help(options: type[Any], description: str) -> str:
    """Let the parser draw its help wide enough that no line is wrapped."""
    drawn = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # in ASCII its boxes have no borders
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "4000"
    try:
        with redirect_stdout(drawn), suppress(SystemExit):
            tyro.cli(
                options,
                args=["--help"],
                description=description,
                prog=program_name(),
            )
    finally:
        drawn.flush()
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return re.sub(r"\x1b\[[0-9;]*m", "", drawn.buffer.getvalue().decode())


def grouped_help(drawn: str, width: int | None = None) -> str:
    """Sort the parser's help, drawn without a wrapped line, into groups, and wrap it to the terminal."""
    width = max(60, min(width or shutil.get_terminal_size().columns, 110))
    head, _, box = drawn.partition("╭")
    told = [line if line.startswith(" ") else textwrap.fill(line, width) for line in head.split("\n")]
    head = re.sub(r"\n{3,}", "\n\n", "\n".join(told))
    entries: list[list[str]] = []
    for line in box.splitlines():
        content = line.strip("│ ").rstrip()
        if line.startswith("│ -") and (found := _OPTION.match(content)):
            entries.append([found[1], found[2] or ""])
        elif line.startswith("│") and entries and content:
            entries[-1][1] = f"{entries[-1][1]} {content}".strip()
    place = {name: group for group, names in GROUPS.items() for name in names.split()}
    sorted_in: dict[str, list[str]] = {group: [] for group in (*GROUPS, OWN)}
    for option, text in entries:
        name = re.split(r"[ ,]", option.lstrip("-"))[0]
        group = "output" if name == "h" else place.get(name, OWN)
        sorted_in[group].append(_entry(option, text, width))
    order = ("input", "models", "asking", OWN, "training", "machine", "output")
    parts = [f"{group}:\n" + "\n".join(lines) for group in order if (lines := sorted_in[group])]
    return "\n\n".join([head.strip("\n"), *parts])


def _entry(option: str, text: str, width: int) -> str:
    text = _STATED_TWICE.sub(r"\1", _EMPTY_DEFAULT.sub("", text))
    lines: Sequence[str] = textwrap.wrap(text, width - 6)
    return "\n".join([f"  {_OR_NONE.sub('', option)}", *(f"      {line}" for line in lines)])
