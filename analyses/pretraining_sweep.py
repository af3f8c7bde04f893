"""Does the gap between arms close where every fact is well stored, and grow with long-tailedness?

    python analyses/pretraining_sweep.py --out runs/pretraining

1. Pretrain a base for each length (training steps) in the same world, and for each Zipf exponent of the
   subjects' popularity at the world's own length.
2. Fine-tune the popular and the unpopular half of the training facts from each.
3. Compare them on the same held-out facts: those that this base states, and all.
4. Relate the gap to the share of held-out facts that the base states.
"""

from __future__ import annotations

import sys
from pathlib import Path

from analyses.common import cli
from analyses.experiments.pretraining_sweep.options import PretrainingSweepOptions


def run(options: PretrainingSweepOptions) -> Path:
    """Run the analysis, or continue it, and return the run directory."""
    from analyses.experiments.pretraining_sweep.experiment import run as run_now

    return run_now(options)


def main() -> int:
    """Run from the command line; print what was found and where the report is."""
    return cli.main("pretraining_sweep", PretrainingSweepOptions)


if __name__ == "__main__":
    sys.exit(main())
