"""What every analysis has in common on the command line: options in, clear errors, a run directory out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from finetune.facts import InputError

CONTINUES = "finished stages are kept, the same command continues"


class HasOutput(Protocol):
    """Options that every analysis has."""

    @property
    def out(self) -> Path:
        """Run directory."""

    @property
    def quiet(self) -> bool:
        """Whether to print nothing."""


Chosen = TypeVar("Chosen", bound=HasOutput)


def launch(options: type[Chosen], run: Callable[[Chosen], Path], show: Callable[[Path], object]) -> int:
    """Parse the command line, run, and print what ``show`` makes of the run directory.

    Returns:
        The exit status: 2 where the input was wrong or the disk full, 130 when interrupted.
    """
    import tyro

    try:
        chosen = tyro.cli(options, description=options.__doc__)
        prepare_process(quiet=chosen.quiet)
        out = run(chosen)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\ninterrupted; {CONTINUES}", file=sys.stderr)
        return 130
    except Exception as error:
        # A full disk reaches us as OSError, or as the error of whichever library was writing.
        if not isinstance(error, OSError) and "No space left" not in str(error):
            raise
        print(f"error: {error}; {CONTINUES}", file=sys.stderr)
        return 2
    if not chosen.quiet and int(os.environ.get("RANK", "0")) == 0:
        from rich.console import Console

        console = Console()
        console.print(show(out))
        console.print(f"Report: {out / 'report.html'}", soft_wrap=True)
    return 0


def prepare_process(*, quiet: bool) -> None:
    """Silence the libraries' own bars and keep off the network unless the hub was asked for."""
    from finetune.progress import QUIET

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if quiet:
        os.environ[QUIET] = "1"
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
