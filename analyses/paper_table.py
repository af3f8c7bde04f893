"""How right is each arm, by data set, model and method? The table of the paper, from any runs.

    python analyses/paper_table.py runs/seeds runs/popqa --out table
    python analyses/paper_table.py runs/splits --by quartile

Reads runs of attention_imbalance and of popularity_splits, whole, cell by cell, or a directory of either;
nothing is measured anew. With --out it writes table.md, and table.csv with a row a number.
"""

from __future__ import annotations

import sys

from analyses.experiments.paper_table.options import PaperTableOptions
from finetune.common.command_line import parse_options, run_command


def main() -> int:
    """Write from the command line; the exit status is 2 where a directory is no run that can be used."""
    return run_command(_command, continues="")


def _command() -> None:
    options = parse_options(PaperTableOptions)
    from analyses.experiments.paper_table.experiment import write

    write(options)


if __name__ == "__main__":
    sys.exit(main())
