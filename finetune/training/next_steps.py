"""What follows a training by the command line: enough facts held out for a diagnosis, and its command."""

from __future__ import annotations

import shlex
from pathlib import Path

from finetune.common.progress import notice

FEWEST_HELD_OUT = 40  # facts; interp.verdicts.controls has a verdict's reasons


def warn_of_few(held_out: int) -> None:
    """Say at once, before anything is trained, that a diagnosis will lack facts."""
    if 0 < held_out < FEWEST_HELD_OUT:
        notice(
            f"{held_out} facts are held out: a diagnosis on them needs {FEWEST_HELD_OUT} or more; give more "
            "facts, or a larger --test-share"
        )


def diagnosis_command(out: Path, *, held_out: bool) -> str:
    """Return the command that measures what a training did, to be copied into a shell.

    How the model is asked, its base and the facts held out are read from its directory. Facts that were
    trained on say little of what was lost; cities and countries are known to most bases.
    """
    others = [] if held_out else ["--facts", "geonames@even", "--limit", "200"]
    words = ["factscope", "diagnose", "--finetuned", str(out), *others, "--out", f"{out}-diagnosis"]
    return shlex.join(words)
