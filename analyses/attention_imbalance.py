"""Where did attention leave the subject, and what did that cost?

    python analyses/attention_imbalance.py --out runs/demo

1. Make or take a base and its fine-tuned arms.
2. Ask each the same held-out facts.
3. Measure the last prompt token's attention to the subject.
4. Put the top arm's attention rows into the bottom arm, and a wrong subject's rows as the placebo.
5. Write the run directory and its report.
"""

from __future__ import annotations

import sys
from pathlib import Path

from analyses.common import cli
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions


def run(options: AttentionImbalanceOptions) -> Path:
    """Run the analysis, or continue it, and return the run directory."""
    from analyses.experiments.attention_imbalance.experiment import run as run_now

    return run_now(options)


def main() -> int:
    """Run from the command line; print what was found and where the report is."""
    return cli.main("attention_imbalance", AttentionImbalanceOptions)


if __name__ == "__main__":
    sys.exit(main())
