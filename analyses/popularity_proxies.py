"""Which stand-ins for popularity agree with each other?

    python analyses/popularity_proxies.py --facts popqa.tsv --base path/or/hub-id --out runs/proxies
    python analyses/popularity_proxies.py --facts my.csv --corpus texts/ --proxies corpus answer_frequency

1. Measure every proxy that the facts, the base and the corpus allow, on every fact; docs/popularity.md says
   what each is. The first one dealt out among the subjects anew is the placebo.
2. Compare each pair: rank correlation, of all facts and within relations, and how much of the half that one
   calls popular the other calls popular too.
"""

import sys

from analyses.common.cli import launcher
from analyses.experiments.popularity_proxies.options import PopularityProxiesOptions

run, main = launcher("popularity_proxies", PopularityProxiesOptions)

if __name__ == "__main__":
    sys.exit(main())
