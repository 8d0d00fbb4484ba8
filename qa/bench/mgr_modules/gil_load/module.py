"""Keeps the interpreter busy for a share of the time, as a large dashboard does: for benchmarks only.

Python's threads run one at a time, those of all mgr modules together, so what one of them computes delays the others.  The
pauses are of random length: at equal ones some gateways' beacons would always meet a burst, others never.
"""

from __future__ import annotations

import random
import threading
import time

from mgr_module import MgrModule, Option

try:
    from mgr_module import CLICommandBase
    CLI = CLICommandBase.make_registry_subtype('GilLoadCommand')
except ImportError:  # before release 20
    from mgr_module import CLICommand as CLI

BURST_S = 0.05


class Module(MgrModule):
    """Option ``share``: of one core, 0 to 1."""

    CLICommand = CLI
    MODULE_OPTIONS = [Option('share', type='float', default=0.0, runtime=True)]

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._ended = threading.Event()

    def serve(self) -> None:
        while not self._ended.is_set():
            share = float(self.get_module_option('share'))
            if share <= 0:
                self._ended.wait(1.0)
                continue
            until_s = time.monotonic() + BURST_S
            while time.monotonic() < until_s:
                sum(range(1000))
            self._ended.wait(BURST_S * (1 - share) / share * random.uniform(0.5, 1.5))

    def shutdown(self) -> None:
        self._ended.set()
