"""The command ``python -m interp.report``: pages of finished runs written again, or several runs compared.

python -m interp.report runs/demo
python -m interp.report runs/demo --verdict-run runs/verdicts
python -m interp.report runs/one runs/other --compare --out compare.html
"""

from __future__ import annotations

import sys
from typing import Any

from interp.reports.pages.command import main

__all__ = ["main"]


def __getattr__(name: str) -> Any:
    if name != "report":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from interp.reports.pages.report import report

    return report


if __name__ == "__main__":
    sys.exit(main())
