"""How long a failover, a failback and a planned move take, phase by phase, beside the least that fencing can take.

Two gateways and no other load.  A write through each gateway is tried all the time; *served* is the first one that succeeds
through the successor.  *Without a path* is the longest time in which none succeeded anywhere.  The phases are the mgr's own
history.  *Floor*: a bare ``osd blocklist add``, the OSD map that carries it, and one pipelined change of ANA states.
"""

from __future__ import annotations

import random
import signal
import time
from calendar import timegm
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Callable, Dict, List

import rados

from target_sim.target_process import RpcClient
from testbed.cluster import ADMIN
from testbed.waiting import wait_until

from .ceph_commands import CephCommands
from .path_writers import Paths
from .two_gateways import TwoGateways

NQN, NSID, IMAGE_BYTES = 'nqn.2016-06.io.spdk:bench', 1, 16 << 20
ANA_GROUP, OWNER, OTHER = 1, 'gw1', 'gw2'
WAIT_S, LOOK_S = 90.0, 0.02
FENCED_S = 60
REST_S = (2.0, 4.0)
Figures = Dict[str, float]


def run(directory: Path, say: Callable[[str], None], rounds: int) -> List[Figures]:
    """On a cluster of its own; see `measure`."""
    with TwoGateways(directory, say) as two:
        return measure(two, say, rounds)


def measure(two: TwoGateways, say: Callable[[str], None], rounds: int) -> List[Figures]:
    """The figures of each round, in seconds."""
    with ExitStack() as stack:
        api = two.apis[0]
        api.create_subsystem(NQN, 'BENCH')
        api.create_listeners(NQN, two.gateways)
        api.add_namespace(NQN, NSID, 'disk', IMAGE_BYTES, ANA_GROUP)
        client = stack.enter_context(rados.Rados(name=ADMIN, conffile=str(two.cluster.conf)))
        bench = _Bench(two, client, stack.enter_context(Paths(two.gateways, NQN, NSID)))
        measured = []
        for number in range(rounds):
            say(f'round {number + 1} of {rounds}')
            measured.append(bench.round())
        return measured


class _Bench:

    def __init__(self, two: TwoGateways, client: rados.Rados, paths: Paths) -> None:
        self._two = two
        self._gateway = two.gateways[0]
        self._client = client
        self._commands = CephCommands(two.cluster, client)
        self._paths = paths
        self._fenced = 0

    def round(self) -> Figures:
        figures: Figures = {}
        for kind, which, signal_number, all_ends in (
                ('target crash', 'target', signal.SIGKILL, False), ('host loss', 'all', signal.SIGKILL, True),
                ('frozen target', 'target', signal.SIGSTOP, False), ('orderly stop', 'warden', signal.SIGTERM, True)):
            self._wait_settled()
            lost = self._lose(lambda: self._gateway.kill(which, signal_number), all_ends)
            figures.update({f'{kind}: {name}': value for name, value in lost.items()})
        self._wait_settled()
        figures['planned move: without a path'] = self._move(OTHER)
        figures['planned move back: without a path'] = self._move(OWNER)
        self._let_mons_rest()
        figures['floor: blocklist and OSD map'], figures['floor: with the ANA states'] = self._floor()
        return figures

    def _lose(self, act: Callable[[], object], all_ends: bool) -> Figures:
        """`all_ends`: and nobody starts the gateway again."""
        last = self._last_record()
        begun_s, offset_s = time.monotonic(), time.time() - time.monotonic()
        act()
        self._wait_writes(OTHER, begun_s)
        figures = {'served': self._paths.first_s(OTHER, begun_s) - begun_s,
                   'without a path': self._paths.longest_gap_s(begun_s - 1)}
        record = wait_until(lambda: self._record_after(last), WAIT_S, 'the history to tell of it', interval_s=0.2)
        marks = {phase['what']: _epoch_s(record['began']) + phase['at_s'] - offset_s - begun_s
                 for phase in record['phases']}
        figures.update({f'{what} at': at_s for what, at_s in marks.items() if what != 'heard'})
        if all_ends:
            wait_until(lambda: not self._gateway.processes(), WAIT_S, f'all of {OWNER} to end')
            self._gateway.start()
        failing_back_s = time.monotonic()
        self._wait_writes(OWNER, failing_back_s)
        figures['failback, without a path'] = self._paths.longest_gap_s(failing_back_s)
        return figures

    def _move(self, to: str) -> float:
        begun_s = time.monotonic()
        self._commands.gw('failover', anagrp_id=ANA_GROUP, to=to)
        self._wait_writes(to, begun_s + 0.1)
        return self._paths.longest_gap_s(begun_s - 0.2)

    def _floor(self) -> List[float]:
        """On the gateway that does not serve the ANA group, and with a state that is set already: nobody notices."""
        self._fenced += 1
        address = f'127.0.0.99:0/{self._fenced}'
        other = self._two.gateways[1]
        with closing(RpcClient(other.rpc_socket)) as target:
            begun_s = time.monotonic()
            self._commands.mon('osd blocklist', blocklistop='add', addr=address, expire=float(FENCED_S))
            self._client.wait_for_latest_osdmap()
            fenced_s = time.monotonic() - begun_s
            target.call('nvmf_subsystem_listener_set_ana_state', **{
                'nqn': NQN, 'ana_state': 'inaccessible', 'anagrpid': ANA_GROUP, 'listen_address': {
                    'trtype': 'TCP', 'adrfam': 'IPv4', 'traddr': other.address, 'trsvcid': str(other.listener_port)}})
            return [fenced_s, time.monotonic() - begun_s]

    # -- what is so ---------------------------------------------------------------------------------------------

    def _wait_writes(self, gateway: str, since_s: float) -> None:
        wait_until(lambda: self._paths.writes(gateway, since_s), WAIT_S, f'a write through {gateway} to succeed',
                   interval_s=LOOK_S)

    def _wait_settled(self) -> None:
        """Both AVAILABLE, and every ANA group at its owner for longer than a failback takes."""
        def settled() -> bool:
            group = self._commands.group('status')
            return (all(g['availability'] == 'AVAILABLE' for g in group['gateways'])
                    and all(g['phase'] == 'ACTIVE' and g['holder'].split('#')[0] == g['owner']
                            for g in group['ana_groups']))
        wait_until(settled, WAIT_S, 'every ANA group to be at its owner', interval_s=0.2)
        self._let_mons_rest()
        self._wait_writes(OWNER, time.monotonic())

    @staticmethod
    def _let_mons_rest() -> None:
        """What the step before had them commit would hold up the next fence; a failure comes at any time after it."""
        time.sleep(random.uniform(*REST_S))

    def _records(self) -> List[Dict[str, Any]]:
        return self._commands.group('history')['records']

    def _last_record(self) -> int:
        return max((record['number'] for record in self._records()), default=-1)

    def _record_after(self, number: int) -> Any:
        """Not of the failback before it, which the history may be late to tell."""
        return next((r for r in self._records() if r['number'] > number and r['anagrp_id'] == ANA_GROUP
                     and r['kind'] != 'failback'), None)


def _epoch_s(stamp: str) -> float:
    """Seconds since 1970 of a time as the history prints it."""
    whole, _, rest = stamp.rstrip('Z').partition('.')
    return timegm(time.strptime(whole, '%Y-%m-%dT%H:%M:%S')) + float(f'0.{rest or 0}')
