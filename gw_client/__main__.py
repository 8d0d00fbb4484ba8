"""`python -m gw_client`: the same as `nvmeof-gw`."""
import sys

from gw_client.main import main

sys.exit(main())
