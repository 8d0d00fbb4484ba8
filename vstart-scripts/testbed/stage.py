"""What the demo and the thrasher play on: a cluster, gateways, and a Linux host that writes to all namespaces through
all of them (how many of each: `layout.py`).

Promises: `start` returns when all is in its place and the writers write; `stop` leaves nothing running, whatever has
been started. Watches by observers, all of which write to the timeline.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Set

from guest import Guest, GuestError, Image, LinuxHost, Writer

from . import status_page
from .cluster import Cluster
from .gateway import GROUP, Gateway, nvme_gw_prefix
from .host_watch import PathWatch, ProcessWatch
from .layout import Layout
from .map_changes import settled
from .map_watch import MapWatch
from .namespaces import Network
from .nvmeof_setup import GatewayApi
from .observer import Observer
from .place import Place
from .sampler import Sampler
from .timeline import Timeline
from .waiting import WaitTimeout, wait_until

MODULE = 'nvmeof_ha'
NQN = 'nqn.2016-06.io.spdk:demo'
OPTIONS = {'failback_delay_s': '2', 'failback_doubling': 'false'}
IMAGE_BYTES = 16 << 20
# The host and all targets share the machine: the writers leave most of it idle, so that times mean something.
SLOTS_MIB, DEPTH = 1, 2
# A host that lost its connection tries again this often. With a failback delay of 2 s, the kernel's default of 10 s
# would leave it without a path when its ANA group returns.
RECONNECT_DELAY_S = 1
SETTLE_S = 90

Figures = Dict[str, Any]


class Stage:
    """Build it with `start`; a context manager that stops everything at its end."""

    def __init__(self, directory: Path, timeline: Timeline, say: Callable[[str], None], layout: Layout = Layout(),
                 network: Optional[Network] = None) -> None:
        """`network`: every daemon and gateway is on a host of its own there, by its name, and the caller on one, too,
        before it starts the stage; without one all are on loopback addresses."""
        self.directory = directory
        self.layout = layout
        self.timeline = timeline
        self._say = say
        self._on_loopback = network is None
        self.cluster = Cluster(directory / 'cluster', mons=layout.mons,
                               place_of=network.host if network else lambda _daemon: Place())
        self.down_on_purpose: Set[str] = set()   # daemons that `check` does not miss
        places = {name: network.host(name) if network else Place(address) for name, address in layout.addresses.items()}
        self.gateways = {name: Gateway(self.cluster, name, place.address, place=place)
                         for name, place in places.items()}
        self.guest = Guest('host', directory)
        self.host = LinuxHost(self.guest)
        self.writers: Dict[int, Writer] = {}
        self._booting: Optional[Future] = None
        self.sampler = Sampler({name: gateway.rpc_socket for name, gateway in self.gateways.items()}, NQN,
                               layout.owners, timeline.add)
        self.map_watch = MapWatch(self.cluster, GROUP, timeline.add)
        self.process_watch = ProcessWatch(list(self.gateways.values()), timeline.add)
        self.path_watch = PathWatch(self.host, NQN, {place.address: name for name, place in places.items()},
                                    layout.ana_group_of, timeline.add)
        self.started_s = time.monotonic()   # of the gateways, once they are

    @property
    def _observers(self) -> List[Observer]:
        return [self.sampler, self.map_watch, self.process_watch, self.path_watch]

    def start(self) -> None:
        Image().ensure(self._say)
        self._say('booting the Linux host')
        self._booting = ThreadPoolExecutor(1).submit(self.guest.start)
        self.cluster.start(self._say)
        self._start_module()
        self._start_gateways()
        self._make_subsystem()
        self._connect_host(self._booting.result())
        for observer in self._observers:
            observer.start()
        self.wait_settled()

    def _start_module(self) -> None:
        self._say(f'ceph mgr module enable {MODULE}; options for the demo: '
                  + ', '.join(f'{name} = {value}' for name, value in OPTIONS.items()))
        for name, value in OPTIONS.items():
            self.cluster.ceph('config', 'set', 'mgr', f'mgr/{MODULE}/{name}', value)
        if self._on_loopback:
            self._say(f'status page, once the module runs: {" or ".join(status_page.enable(self.cluster).values())}')
        self.cluster.enable_module(MODULE)

    def _start_gateways(self) -> None:
        for gateway in self.gateways.values():
            self._say(f'ceph {nvme_gw_prefix(self.cluster)} create {gateway.name} rbd {GROUP}; starting it at '
                      f'{gateway.address} (target: {gateway.target})')
            gateway.create()
            gateway.start()
        self.started_s = time.monotonic()
        for gateway in self.gateways.values():
            gateway.wait_available()

    def _make_subsystem(self) -> None:
        gateways = list(self.gateways.values())
        self._say(f'making subsystem {NQN} with namespaces {", ".join(map(str, self.layout.ana_group_of))}')
        with GatewayApi(gateways[0]) as api:
            api.wait_ready()
            api.create_subsystem(NQN, 'DEMO1')
            api.create_listeners(NQN, gateways)
            for nsid, ana_group in self.layout.ana_group_of.items():
                api.add_namespace(NQN, nsid, f'disk{nsid}', IMAGE_BYTES, ana_group)

    def _connect_host(self, booted_s: float) -> None:
        self._say(f'the Linux host was up after {booted_s:.1f} s; connecting it to all gateways')
        for gateway in self.gateways.values():
            # Refused until the gateway has made its listener of what was configured at the other one.
            wait_until(lambda: self._connect(gateway), SETTLE_S, f'the host to connect to {gateway.name}',
                       interval_s=0.5, not_yet=(GuestError,))
        self.host.wait_for_paths(NQN, len(self.gateways), tuple(self.layout.ana_group_of))
        self._say('starting a stamped writer on each namespace')
        for nsid in self.layout.ana_group_of:
            self.writers[nsid] = self.host.start_writer(NQN, nsid, slots_mib=SLOTS_MIB, depth=DEPTH,
                                                        interval_us=self.layout.interval_us)

    def _connect(self, gateway: Gateway) -> bool:
        self.host.connect(gateway.address, gateway.listener_port, NQN, reconnect_delay_s=RECONNECT_DELAY_S)
        return True

    # -- waiting and measuring ------------------------------------------------------------------------

    def check(self) -> None:
        """Raises when something that is no part of any scenario has ended: an observer, a daemon, the guest."""
        for observer in self._observers:
            observer.check()
        self.cluster.check_daemons(self.down_on_purpose)
        if self.guest.pid() is None:
            raise GuestError(f'the Linux host is gone\n{self.guest.console_tail()}')

    def wait(self, condition: Callable[[], Any], timeout_s: float, what: str, interval_s: float = 0.05) -> Any:
        """As wait_until, but not for what cannot come any more."""
        def checked() -> Any:
            self.check()
            return condition()
        return wait_until(checked, timeout_s, what, interval_s)

    def wait_settled(self, timeout_s: float = SETTLE_S) -> None:
        """Until every ANA group is at its owner, for the map, the targets and the host alike, and all writers write;
        each of these may take that long."""
        owners = self.layout.owners
        self.wait(lambda: settled(self.map_watch.latest), timeout_s,
                  'the map to have every ANA group ACTIVE at its owner')
        self.wait(lambda: all(self.sampler.history.holder(group) == owner for group, owner in owners.items()),
                  timeout_s, "every ANA group's owner to be optimized, and no other")
        self.wait(lambda: self.path_watch.in_order(owners), timeout_s,
                  'the host to have a live path to each gateway, with the ANA states of the targets')
        self.wait_writing()

    def wait_writing(self) -> None:
        """Until each writer has completed a write that it began after this call."""
        # Each thread has one I/O in flight now, so the one after that is new.
        goals = {nsid: writer.status()['writes'] + DEPTH + 1 for nsid, writer in self.writers.items()}

        def reached() -> bool:
            for nsid in list(goals):
                if self.writers[nsid].status()['writes'] >= goals[nsid]:
                    del goals[nsid]
            return not goals
        self.wait(reached, SETTLE_S, 'all writers to write', interval_s=0.1)

    def mark(self) -> List[Figures]:
        """Ends the writers' measuring windows, begins new ones; what the ended ones gave."""
        return [writer.mark() for writer in self.writers.values()]

    def verify(self) -> None:
        """Read every acknowledged block; what is missing counts in the window that is open now."""
        with ThreadPoolExecutor(len(self.writers)) as pool:
            list(pool.map(lambda writer: writer.verify(), self.writers.values()))

    # -- the end --------------------------------------------------------------------------------------

    def stop_observers(self) -> None:
        for observer in self._observers:
            observer.stop()

    def stop(self) -> None:
        """End all of it, hard: nobody needs it any more."""
        self.stop_observers()
        self._stop_guest()
        for gateway in self.gateways.values():
            gateway.kill('all')
            gateway.stop()
        self.cluster.stop()
        for pid in self.process_watch.seen_pids:
            # What a real nvmf_tgt leaves behind when it is killed.
            Path(f'/dev/shm/nvmf_trace.pid{pid}').unlink(missing_ok=True)

    def _stop_guest(self) -> None:
        def stopped() -> bool:
            self.guest.stop()
            return self._booting is None or self._booting.done()
        try:
            wait_until(stopped, SETTLE_S, 'the Linux host to end')
        except WaitTimeout:
            self._say('the Linux host does not end; look for qemu-system-x86_64')

    def log_tails(self, lines: int = 30) -> str:
        parts = [gateway.log_tails(lines) for gateway in self.gateways.values()]
        parts += [daemon.log_tail(lines) for name, daemon in self.cluster.daemons.items() if name.startswith('mgr')]
        if self.guest.pid() is not None:
            parts.append(self.guest.log_tails())
        return '\n\n'.join(parts)
