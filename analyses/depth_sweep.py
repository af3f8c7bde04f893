"""Does the attention imbalance persist in deeper models, where, and does pattern-only recovery?

    python analyses/depth_sweep.py --out runs/depth

1. Pretrain bases of several depths whose layers hold the same number of parameters together: the deeper the
   narrower. Text, steps and learning rate are the same.
2. Fine-tune the popular and the unpopular half of the training facts from each.
3. Compare what both attend to, layer by layer, on the same held-out facts, and what they answer.
4. Put the popular half's attention rows into the unpopular one, with another subject's as the placebo.
"""

import sys

from analyses.common.cli import launcher
from analyses.experiments.depth_sweep.options import DepthSweepOptions

run, main = launcher("depth_sweep", DepthSweepOptions)

if __name__ == "__main__":
    sys.exit(main())
