"""How right is each arm, by data set, model and method? The table of the paper, from any runs.

    python analyses/paper_table.py runs/seeds runs/popqa --out table
    python analyses/paper_table.py runs/splits --by quartile

Reads runs of attention_imbalance and of popularity_splits, whole, cell by cell, or a directory of either;
nothing is measured anew. With --out it writes table.md, and table.csv with a row a number.
"""

import sys

from analyses.common.cli import reader
from analyses.experiments.paper_table.options import PaperTableOptions

main = reader("paper_table", PaperTableOptions)

if __name__ == "__main__":
    sys.exit(main())
