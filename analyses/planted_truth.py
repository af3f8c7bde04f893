"""Is a verdict right where the truth is known by construction?

    python analyses/planted_truth.py --out runs/planted

1. Draw a world, keep some subjects out of all text (never stored), and pretrain a base on the others.
2. Damage it in a grid of ways: planted by name, by natural fine-tuning, by noise or by interpolation, of W_Q
   and W_K, of the other weights or of all.
3. Diagnose each damaged model against the base, on present and absent subjects, and give it lessons.
4. Compare verdicts with the truth: shares called stored of lost and of never-stored facts, precision by
   prevalence, and areas under the ROC curve.
"""

import sys

from analyses.common.cli import launcher
from analyses.experiments.planted_truth.options import PlantedTruthOptions

run, main = launcher("planted_truth", PlantedTruthOptions)

if __name__ == "__main__":
    sys.exit(main())
