"""Of the facts that each fine-tuned arm lost, which are still stored but suppressed?

    python analyses/stored_or_suppressed.py --run runs/demo --out runs/verdicts
    python analyses/stored_or_suppressed.py --base DIR --finetuned mine=DIR --facts my.csv --out runs/mine

1. Take the arms of a finished run of attention_imbalance, or make them, or take somebody's own checkpoints.
2. Diagnose every arm on its held-out facts: which does it still state in other wordings?
3. Transplant another arm's (or the base's) attention into stored lost facts head by head, with the placebo.
4. Graft groups of weights from the base, give short lessons on other facts, and say what comes back.
"""

import sys

from analyses.common.cli import launcher
from analyses.experiments.stored_or_suppressed.options import StoredOrSuppressedOptions

run, main = launcher("stored_or_suppressed", StoredOrSuppressedOptions)

if __name__ == "__main__":
    sys.exit(main())
