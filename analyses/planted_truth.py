"""Is a verdict right where the truth is known by construction?

    python analyses/planted_truth.py --out runs/planted

1. Draw a world, keep some subjects out of all text (never stored), and pretrain a base on the others.
2. Plant three models: facts suppressed in every form (only W_Q and W_K trained), suppressed in the asked form
   alone, and erased (only W_V, W_O and the MLPs trained). Facts of the other relations are kept.
3. Diagnose each against the base, on present and absent subjects.
4. Compare verdicts with the truth: confusion matrix, precision, recall, false positives, and the area under
   the ROC curve of every kind of evidence.
"""

import sys

from analyses.common.cli import launcher
from analyses.experiments.planted_truth.options import PlantedTruthOptions

run, main = launcher("planted_truth", PlantedTruthOptions)

if __name__ == "__main__":
    sys.exit(main())
