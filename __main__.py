"""`python -m opsin` is the command `opsin`."""

import sys

from .engine.cli import main

sys.exit(main())
