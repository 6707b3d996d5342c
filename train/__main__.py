"""`python -m tierenv.train` is the command `tierenv`."""

import sys

from tierenv.train.cli import main

sys.exit(main())
