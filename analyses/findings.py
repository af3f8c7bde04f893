"""What was found: every claim that finished runs decide, with its number and its command, and studies.

    python analyses/findings.py runs/demo runs/mixture ... --out docs/claims.md
    python analyses/findings.py --studies docs/studies/geonames-smollm2-135m docs/studies/popqa-smollm2-135m

Nothing is measured here. A run directory says itself what it decides (``claims.json``), on what
(``manifest.json``) and by which command; a run that is not finished is refused.
"""

import sys

from analyses.common.cli import reader
from analyses.experiments.findings.options import FindingsOptions

main = reader("findings", FindingsOptions)

if __name__ == "__main__":
    sys.exit(main())
