"""How does one get suppressed facts back, or keep them from being suppressed, and what does that cost?

    python analyses/mitigations.py --out runs/mitigations

1. Fine-tune on the unpopular half: the uncured arm. Diagnose which held-out facts it suppresses, once a seed.
2. Cure it: fine-tune again with one thing changed, or change its weights or its attention without training.
   How strong a cure after training is, is chosen on validation facts and its own training facts.
3. Ask cured models the suppressed facts, the rest of the held-out facts, what fine-tuning had newly taught,
   and statements. Each kind of cure has its placebo.
4. Say of each cure whether it restores half of the suppressed facts at a cost of at most two points of the
   rest, and the same of the cure that is best on the other seeds.
"""

import sys

from analyses.common.cli import launcher
from analyses.experiments.mitigations.options import MitigationsOptions

run, main = launcher("mitigations", MitigationsOptions)

if __name__ == "__main__":
    sys.exit(main())
