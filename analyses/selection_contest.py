"""Which score of the base's own chooses training facts best, and is a half of them better than all?

    python analyses/selection_contest.py --out runs/contest
    python analyses/selection_contest.py --facts popqa.tsv --out runs/contest-popqa
    python analyses/selection_contest.py --domain --out runs/contest-domain
    python analyses/selection_contest.py --relations 1 --out runs/contest-one-relation

1. Score every training fact at the base by each score of :mod:`interp.selection`.
2. Keep a share of the facts by each score; fine-tune on it for as many steps as on all of them, and in some
   cells for as many epochs.
3. Ask the held-out facts, and give verdicts to those that halves, or all facts, lose.
4. Compare with the popular share, with all facts, and with the placebos: a random share, and scores dealt out
   anew within each relation.
"""

import sys

from analyses.common.cli import launcher
from analyses.experiments.selection_contest.options import SelectionContestOptions

run, main = launcher("selection_contest", SelectionContestOptions)

if __name__ == "__main__":
    sys.exit(main())
