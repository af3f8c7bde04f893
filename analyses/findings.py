"""What was found, in one table: every claim that finished runs decide, with its number and its command.

    python analyses/findings.py runs/demo runs/mixture ... --out docs/findings.md

Nothing is measured here. A run directory says itself what it decides (``claims.json``), on what
(``manifest.json``) and by which command; a run that is not finished is refused.
"""

from __future__ import annotations

import sys

from analyses.experiments.findings.options import FindingsOptions
from finetune.common.command_line import parse_options, run_command


def main() -> int:
    """Write from the command line; the exit status is 2 where a directory is no run that can be used."""
    return run_command(_command, continues="")


def _command() -> None:
    options = parse_options(FindingsOptions)
    from analyses.experiments.findings.experiment import write

    write(options)


if __name__ == "__main__":
    sys.exit(main())
