"""How many popular facts should a fine-tuning set hold, and in which order?

    python analyses/mixture_sweep.py --out runs/mixture

1. Halve the training facts by popularity.
2. Make sets of one size with 0 to 100% of their facts from the popular half, drawn at random from each.
3. Fine-tune on each, shuffled; on the even mix also with the popular facts first, and last.
4. Ask held-out facts: the popular ones (first two quartiles) and the unpopular ones.
5. Compare the best mixture with popular facts alone; which one is best for a seed is chosen on the others,
   so that it is not chosen on its own noise.
"""

import sys

from analyses.common.cli import launcher
from analyses.experiments.mixture_sweep.options import MixtureSweepOptions

run, main = launcher("mixture_sweep", MixtureSweepOptions)

if __name__ == "__main__":
    sys.exit(main())
