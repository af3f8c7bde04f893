"""Does "train on the popular half" still hold in a domain whose facts are nearly all rare?

    python analyses/long_tail_domain.py --out runs/domain
    python analyses/long_tail_domain.py --facts popqa.tsv --limit 4000 --out runs/domain-popqa

1. Make a world of general subjects with popular facts, and of a domain: other subjects, other relations, each
   fact met a few times. Pretrain one base on both.
2. From it fine-tune, in sets of one size, on the domain's popular, unpopular or a random half; on the general
   facts that are most popular; and on an even mix of these and the domain's popular half. Also on all of the
   domain, for as many steps.
3. Ask held-out facts of the domain, by quartile of its own popularity, and general ones as the cost.

With --facts: the domain is the half of the relations whose median popularity is lowest.
"""

import sys

from analyses.common.cli import launcher
from analyses.experiments.long_tail_domain.options import LongTailDomainOptions

run, main = launcher("long_tail_domain", LongTailDomainOptions)

if __name__ == "__main__":
    sys.exit(main())
