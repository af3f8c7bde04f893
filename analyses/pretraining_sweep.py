"""Does the gap between arms close where every fact is well stored, and grow with long-tailedness?

    python analyses/pretraining_sweep.py --out runs/pretraining

1. Pretrain a base for each length (training steps) in the same world, and for each Zipf exponent of the
   subjects' popularity at the world's own length.
2. Fine-tune the popular and the unpopular half of the training facts from each.
3. Compare them on the same held-out facts: those that this base states, and all.
4. Relate the gap to the share of held-out facts that the base states.
"""

import sys

from analyses.common.cli import launcher
from analyses.experiments.pretraining_sweep.options import PretrainingSweepOptions

run, main = launcher("pretraining_sweep", PretrainingSweepOptions)

if __name__ == "__main__":
    sys.exit(main())
