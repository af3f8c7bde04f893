"""Where did attention leave the subject, and what did that cost?

    python analyses/attention_imbalance.py --out runs/demo

1. Make or take a base and its fine-tuned arms.
2. Ask each the same held-out facts.
3. Measure the last prompt token's attention to the subject.
4. Put the top arm's attention rows into the bottom arm, and a wrong subject's rows as the placebo.
5. Write the run directory and its report.
"""

import sys

from analyses.common.cli import launcher
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions

run, main = launcher("attention_imbalance", AttentionImbalanceOptions)

if __name__ == "__main__":
    sys.exit(main())
