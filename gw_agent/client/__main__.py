"""`python -m gw_agent.client`: the same as `nvmeof-gw`."""
import sys

from gw_agent.client.main import main

sys.exit(main())
