"""``python -m factscope`` is the command ``factscope``."""

import sys

from factscope.cli import main

if __name__ == "__main__":
    sys.exit(main())
