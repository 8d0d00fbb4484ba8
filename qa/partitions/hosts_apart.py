"""A cluster and two gateways with an ANA group each, every daemon on a host of its own.

Promises: whoever is inside the context manager's `with` is on a host, too ("clients"), which no play cuts off; at the
end nothing runs and no host is left.  Hosts of NVMe are not played: the targets' ANA states stand for them.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import rados
import rbd

from nvmeof_ha.core.standby import GRACE_S
from testbed.cluster import ADMIN, POOL, Cluster, CommandFailed
from testbed.gateway import GROUP, Gateway
from testbed.map_changes import settled, short_instance
from testbed.map_watch import MapWatch
from testbed.namespaces import Network
from testbed.observer import Observer
from testbed.sampler import Sampler
from testbed.timeline import Timeline
from testbed.waiting import wait_until

from .write_watch import WriteWatch

MODULE = 'nvmeof_ha'
CLIENTS = 'clients'
MONS = 3   # one of them may be lost
NQN = 'nqn.2016-06.io.spdk:apart'
OWNERS = {1: 'gw1', 2: 'gw2'}
IMAGE_SIZE = '4MB'
OPTIONS = {'failback_delay_s': '2', 'failback_doubling': 'false', 'standby_fail_interval_s': '10'}
READY_S, WELL_S, CLEAN_S, MON_S = 60, 90, 180, 30
STANDBY_HEARS_S = 5.0
"""More than a standby needs to begin listening and hear the active mgr."""


class HostsApart:
    """Start it by entering it. `timeline` gets what the observers see."""

    def __init__(self, directory: Path, say: Callable[[str], None], timeline: Timeline) -> None:
        self._stack = ExitStack()
        self._client: Optional[rados.Rados] = None
        self._say = say
        self.timeline = timeline
        self.network = Network()
        self.cluster = Cluster(directory, mons=MONS, place_of=self.network.host)
        places = {name: self.network.host(name) for name in OWNERS.values()}
        self.gateways = {name: Gateway(self.cluster, name, place.address, place=place)
                         for name, place in places.items()}
        self.sampler = Sampler({name: gateway.rpc_socket for name, gateway in self.gateways.items()}, NQN, OWNERS,
                               timeline.add)
        self.map_watch = MapWatch(self.cluster, GROUP, timeline.add)
        self.write_watch = WriteWatch()
        self._observers: List[Observer] = [self.sampler, self.map_watch, self.write_watch]

    def __enter__(self) -> HostsApart:
        with ExitStack() as stack:
            stack.enter_context(self.network)
            stack.enter_context(self.network.host(CLIENTS).entered())
            stack.callback(self._stop)
            self.cluster.start(self._say)
            for name, value in OPTIONS.items():
                self.cluster.ceph('config', 'set', 'mgr', f'mgr/{MODULE}/{name}', value)
            self.cluster.enable_module(MODULE)
            self._client = rados.Rados(name=ADMIN, conffile=str(self.cluster.conf))
            self._client.connect()
            self.write_watch.begin(self._client)
            self._start_gateways()
            for observer in self._observers:
                observer.start()
            self.wait_well()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def _stop(self) -> None:
        for observer in self._observers:
            if observer.is_alive():
                observer.stop()
        if self._client:
            self._client.shutdown()
        for gateway in self.gateways.values():
            gateway.kill('all')
            gateway.stop()
        self.cluster.stop()

    def _start_gateways(self) -> None:
        self._say('starting the gateways')
        for gateway in self.gateways.values():
            gateway.create()
            gateway.start()
        first = self.gateways[OWNERS[1]]
        wait_until(lambda: self._configure(first, 'subsystem', 'add', '-n', NQN, '--no-group-append'), READY_S,
                   f'{first.name} to take a configuration', interval_s=0.3, not_yet=(CommandFailed,))
        self._configure(first, 'host', 'add', '-n', NQN, '-t', '*')
        for gateway in self.gateways.values():
            self._configure(first, 'listener', 'add', '-n', NQN, '-t', gateway.name, '-a', gateway.address,
                            '-s', str(gateway.listener_port))
        for ana_group in OWNERS:
            self._configure(first, 'namespace', 'add', '-n', NQN, '--nsid', str(ana_group), '-i', f'disk{ana_group}',
                            '-c', '--size', IMAGE_SIZE, '-l', str(ana_group))

    def _configure(self, gateway: Gateway, *words: str) -> str:
        # A process of its own: gRPC's threads in this one may have been started on no host.
        return self.cluster.run(sys.executable, '-m', 'gw_agent.client', '--server-address', f'unix:{gateway.api_socket}',
                                *words)

    # -- what is so ------------------------------------------------------------------------------------------------

    def names(self, *kinds: str) -> List[str]:
        """Hosts of the daemons of these kinds (mon, mgr, osd)."""
        return [name for name in self.cluster.daemons if name.split('.')[0] in kinds]

    def active_mgr(self) -> str:
        return f'mgr.{self.ask("mgr dump")["active_name"]}'

    def mon_leader(self) -> str:
        return f'mon.{self.ask("quorum_status")["quorum_leader_name"]}'

    def seat_primaries(self) -> List[str]:
        """The primary OSD of each seat."""
        names = self.ask('config-key get', key=f'mgr/{MODULE}/group/rbd/{GROUP}')['seats']
        return [f'osd.{self.ask("osd map", pool=POOL, object=name, nspace=MODULE)["acting_primary"]}' for name in names]

    def data_primary(self, ana_group: int) -> str:
        """The primary OSD of the first data of a namespace in this ANA group."""
        assert self._client
        with self._client.open_ioctx(POOL) as ioctx, rbd.Image(ioctx, f'disk{ana_group}', read_only=True) as image:
            first = f'{image.block_name_prefix()}.{0:016x}'
        return f'osd.{self.ask("osd map", pool=POOL, object=first)["acting_primary"]}'

    def ask(self, prefix: str, **arguments: str) -> Any:
        """The mons, by a client that is connected: to start a program takes seconds on a busy machine."""
        assert self._client
        question = json.dumps({'prefix': prefix, 'format': 'json', **arguments})
        code, answer, text = self._client.mon_command(question, b'', timeout=MON_S)
        if code:
            raise CommandFailed([prefix, *arguments.values()], code, answer.decode(), text)
        return json.loads(answer)

    def targets(self) -> Dict[str, Optional[int]]:
        """Pid by gateway."""
        return {name: gateway.pids().get('target') for name, gateway in self.gateways.items()}

    def instances(self) -> Dict[str, str]:
        latest = self.map_watch.latest
        return {gateway.id: short_instance(gateway.instance) for gateway in latest.gateways} if latest else {}

    def well(self) -> bool:
        """Each ANA group is at its owner, for the map and the targets."""
        return settled(self.map_watch.latest) and all(
            self.sampler.history.holder(ana_group) == owner for ana_group, owner in OWNERS.items())

    def wait_well(self, timeout_s: float = WELL_S) -> None:
        self.wait(self.well, timeout_s, 'every ANA group to be served by its owner')

    def wait_standby(self) -> None:
        """Until a standby has known the active mgr for longer than the grace that it gives a new one."""
        since_s, known = time.monotonic(), None

        def known_for_long() -> bool:
            nonlocal since_s, known
            dump = self.ask('mgr dump')
            found = (dump['active_gid'] if dump['available'] else None, [mgr['gid'] for mgr in dump['standbys']])
            if found != known or not all(found):
                since_s, known = time.monotonic(), found
            return time.monotonic() - since_s > STANDBY_HEARS_S + GRACE_S
        self.wait(known_for_long, WELL_S, 'a standby mgr that knows the active one for long enough', interval_s=0.5)

    def wait_clean(self) -> None:
        """Until every object has its three copies: an OSD that was killed comes back empty."""
        def clean() -> bool:
            states = self.ask('status')['pgmap']['pgs_by_state']
            return all(state['state_name'] == 'active+clean' for state in states)
        self.wait(clean, CLEAN_S, 'all placement groups to be clean', interval_s=0.5)

    def wait(self, condition: Callable[[], object], timeout_s: float, what: str, interval_s: float = 0.05) -> None:
        def checked() -> object:
            for observer in self._observers:
                observer.check()
            return condition()
        wait_until(checked, timeout_s, what, interval_s)

    def pass_until(self, at_s: float) -> None:
        """Only a play's own time passes like that."""
        self.wait(lambda: time.monotonic() >= at_s, at_s - time.monotonic() + 60, 'time to pass')

    def log_tails(self) -> str:
        parts = [gateway.log_tails(60) for gateway in self.gateways.values()]
        parts += [daemon.log_tail(40) for name, daemon in self.cluster.daemons.items() if name.startswith('mgr')]
        return '\n\n'.join(parts)
