"""`python3 -m gw_agent.install`, also from a checkout where nothing is installed."""
from __future__ import annotations

import sys

from gw_agent.install.main import main

if __name__ == "__main__":
    sys.exit(main())
