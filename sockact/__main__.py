"""`python -m sockact`."""

import sys

from sockact.cli import main

sys.exit(main())
