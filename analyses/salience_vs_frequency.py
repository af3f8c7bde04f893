"""Which facts survive fine-tuning: those met often, or those that the base's own values hold strongly?

    python analyses/salience_vs_frequency.py --out runs/survival
    python analyses/salience_vs_frequency.py --facts popqa.tsv --limit 4000 --out runs/survival-popqa

1. Make a world in levels of frequency: each fact is met 1, 2, 4 ... 4,096 times, whatever its answer's prior.
2. Pretrain the base on exactly as many rows; hold out about half of the subjects of every level.
3. Read every held-out fact at the base: frequency, answer's prior, value readout, log-probability of its
   statements and of its question, harm score m; and frequencies dealt out anew, as the placebo.
4. Fine-tune on the popular half, on the unpopular and on a random one; ask every held-out fact. A fact that
   the base states in every form survives if it is then answered right.
5. Rank facts by each predictor; fit survival to its rank on the other seeds and compare with this one.

With --facts: the same on real facts, where frequency is page views and levels are their quartiles.
"""

import sys

from analyses.common.cli import launcher
from analyses.experiments.salience_vs_frequency.options import SalienceVsFrequencyOptions

run, main = launcher("salience_vs_frequency", SalienceVsFrequencyOptions)

if __name__ == "__main__":
    sys.exit(main())
