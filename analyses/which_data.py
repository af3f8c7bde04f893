"""Before training: which of my facts should I train on?

    python analyses/which_data.py --base DIR|hub-id --facts my.csv --share 0.5 --out chosen.csv
    python analyses/which_data.py --base DIR|hub-id --facts bare.jsonl --out chosen.jsonl --score few_shot

1. Load the candidates; what cannot be asked is set aside and listed.
2. Score every one of them at the base model, before any training (docs/which_data.md lists the scores).
3. Keep the share whose scores are best, with a floor under every relation and answer type (--floor 0: none).
4. Write the chosen rows as they came, in their order, each with its score and the reason; and a report.

A table needs questions and answers; with subjects and relations more scores can be used.
"""

import sys

from analyses.common.cli import launcher
from analyses.experiments.which_data.options import WhichDataOptions

run, main = launcher("which_data", WhichDataOptions)

if __name__ == "__main__":
    sys.exit(main())
