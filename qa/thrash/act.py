"""What every fault's act is made of: the stage, the fault, and the signal to hurry."""

from __future__ import annotations

import threading
from typing import List, Optional

from testbed.cluster import POOL, CommandFailed
from testbed.daemon import Daemon
from testbed.gateway import GROUP, Gateway, nvme_gw
from testbed.stage import Stage
from testbed.waiting import wait_until

from .links import Links
from .schedule import Fault

COMMAND_S = 120
MEND_S = 120
# Starting what another fault's end has just started would fail.
starting = threading.Lock()


class Act:
    """One fault on the stage; several may be played at once, each in a thread of its own."""

    def __init__(self, stage: Stage, fault: Fault, hurry: threading.Event, links: Optional[Links] = None) -> None:
        """`hurry`: holds end at once when it is set. `links`: for faults of the network."""
        self.stage = stage
        self.links = links
        self.cluster = stage.cluster
        self.fault = fault
        self.hurry = hurry

    def tell(self, text: str) -> None:
        self.stage.timeline.add(text)

    def hold(self) -> None:
        self.hurry.wait(self.fault.hold_s)

    @property
    def gateway(self) -> Gateway:
        return self.stage.gateways[self.fault.gateway]

    @property
    def ana_group(self) -> int:
        """The one that the gateway owns."""
        return next(group for group, owner in self.stage.layout.owners.items() if owner == self.fault.gateway)

    def daemons(self, *kinds: str) -> List[Daemon]:
        return [daemon for name, daemon in self.cluster.daemons.items() if name.split('.')[0] in kinds]

    def drawn(self, kind: str) -> Daemon:
        """One of them, by the draw."""
        daemons = self.daemons(kind)
        return daemons[int(self.fault.hold_s * 1000) % len(daemons)]

    def try_command(self, *words: str) -> None:
        """Of `ceph nvme-gw`, once: who breaks things asks when they are broken already."""
        try:
            nvme_gw(self.cluster, words[0], *self._arguments(words[1:]))
        except CommandFailed as error:
            self.tell(f'{error}')

    def command(self, *words: str) -> None:
        """The same, until it succeeds: no mgr may be active at the moment."""
        def done() -> bool:
            nvme_gw(self.cluster, words[0], *self._arguments(words[1:]))
            return True
        wait_until(done, COMMAND_S, f'the mgr to take {" ".join(words)}', interval_s=1.0, not_yet=(CommandFailed,))

    @staticmethod
    def _arguments(words: tuple) -> List[str]:
        """PLACE stands for the pool and the group."""
        return [part for word in words for part in ((POOL, GROUP) if word == 'PLACE' else (word,))]
