"""Which facts should one fine-tune on? The paper's experiment on any data sets and models.

    python analyses/popularity_splits.py --facts popqa.tsv --out runs/splits
    python analyses/popularity_splits.py --yaml experiment.yaml --engine ray --address auto

1. Load every data set, give its facts the popularity that was asked for, and deal subjects into training,
   validation and held-out ones.
2. For every model, method, arm, share, learning rate and seed fine-tune, and ask the held-out facts: a cell,
   with a run directory of its own.
3. Let validation choose each arm's learning rate; compare arms on the same held-out facts.
4. Hand the chosen checkpoints to attention_imbalance and stored_or_suppressed.
"""

import sys

from analyses.common.cli import launcher
from analyses.experiments.popularity_splits.options import PopularitySplitsOptions
from analyses.experiments.popularity_splits.options_file import command_words

run, main = launcher("popularity_splits", PopularitySplitsOptions, arguments=command_words)

if __name__ == "__main__":
    sys.exit(main())
