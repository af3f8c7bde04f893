"""Is it popularity, or diversity of relations and answers? And why does a random half do nearly as well?

    python analyses/popularity_or_diversity.py --out runs/diversity

1. Halve the training facts by popularity within each relation; a third pool is all of them.
2. Draw fine-tuning sets of one size from each pool, of one relation or of all, with the relation's three
   commonest answers or with all. The size is what the smallest of these can have; which relation is the one
   rotates with the seed.
3. Fine-tune on each, ask held-out facts, and average each factor's effect over the other two.
4. Take the loss's gradient on disjoint batches of popular, unpopular and random facts: how long it is, and
   which way it points, in each group of parameters. Two batches of one kind are the placebo. This is done at
   the base, where all facts ask for the same new question form, and where a random half has taught that.
"""

import sys

from analyses.common.cli import launcher
from analyses.experiments.popularity_or_diversity.options import PopularityOrDiversityOptions

run, main = launcher("popularity_or_diversity", PopularityOrDiversityOptions)

if __name__ == "__main__":
    sys.exit(main())
