"""Lets warden and agent of a gateway stand still while its target goes on serving.

The lease and the mgr's patience are made so long before that nobody minds: nothing is suspected, no lease ends, the same
target keeps the same connections.  What is compared with and without them differs in nothing else, except that the mgr gets
no beacons of that gateway meanwhile.  A lease that was given is never taken back, so the group keeps a long one afterwards:
the death of a whole host is noticed late.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import Iterator

from testbed.cluster import Cluster
from testbed.gateway import Gateway
from testbed.waiting import wait_until

from .beacon_watch import BeaconWatch

LONG_S = 600.0
"""A gateway may stand still for half of it."""
TIMERS = ('lease_s', 'suspect_s')
KEEPERS = ('warden', 'agent')   # the warden first: it replaces an agent that says nothing
KNOWN_S = 30.0


@contextmanager
def long_leases(cluster: Cluster, gateway: Gateway, beacons: BeaconWatch) -> Iterator[None]:
    """Inside, the gateway may stand still."""
    try:
        for timer in TIMERS:
            cluster.ceph('config', 'set', 'mgr', f'mgr/nvmeof_ha/{timer}', f'{LONG_S:g}')
        _wait_long_lease(gateway, beacons)
        yield
    finally:
        for timer in TIMERS:
            cluster.ceph('config', 'rm', 'mgr', f'mgr/nvmeof_ha/{timer}')


@contextmanager
def standing_still(gateway: Gateway, beacons: BeaconWatch) -> Iterator[None]:
    """Use it in `long_leases`.  Returns when the gateway has a long lease again."""
    for keeper in KEEPERS:
        assert gateway.kill(keeper, signal.SIGSTOP) == [keeper]
    try:
        yield
    finally:
        for keeper in reversed(KEEPERS):
            gateway.kill(keeper, signal.SIGCONT)
    _wait_long_lease(gateway, beacons)


def _wait_long_lease(gateway: Gateway, beacons: BeaconWatch) -> None:
    """As a beacon says that comes from now on."""
    before = len(beacons.of(gateway.name))

    def has_one() -> bool:
        heard = beacons.of(gateway.name)[before:]
        return bool(heard) and heard[-1][1].notes.lease_left_s > LONG_S / 2
    wait_until(has_one, KNOWN_S, f'{gateway.name} to have a long lease')
