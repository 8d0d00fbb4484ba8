"""The mgr module and gateways that only speak its protocol: failover, fencing, and the mgr's own death."""

from __future__ import annotations

from typing import Callable, Iterator, Optional

import pytest
import rados

from mgr_peer import Peer, SeatReader, connect, module_options, show, words
from nvmeof_ha.core import wire
from nvmeof_ha.core.model import Availability, Map, Phase
from testbed.cluster import Cluster, CommandFailed
from testbed.gateway import nvme_gw
from testbed.waiting import wait_until

ESHUTDOWN = 108


@pytest.fixture(scope='module')
def mgr(cluster: Cluster) -> Iterator[Cluster]:
    cluster.enable_module('nvmeof_ha')
    with module_options(cluster, failback_delay_s='1', failback_doubling='false'):
        yield cluster


@pytest.fixture
def seats_of(mgr: Cluster) -> Iterator[Callable[[str], SeatReader]]:
    client = connect(mgr)
    yield lambda group: SeatReader(client, group)
    client.shutdown()


def serving(gateway_map: Map, ana_group: int) -> Optional[str]:
    """The gateway for which this ANA group is ACTIVE."""
    group = gateway_map.ana_group(ana_group)
    return group.holder.gateway if group is not None and group.phase is Phase.ACTIVE else None


def both_own(gateway_map: Map) -> bool:
    return serving(gateway_map, 1) == 'gw1' and serving(gateway_map, 2) == 'gw2'


def create_pair(cluster: Cluster, group: str) -> None:
    for gateway in ('gw1', 'gw2'):
        nvme_gw(cluster, 'create', gateway, 'rbd', group)


def write_error(context: rados.Rados) -> int:
    """Errno of a write through this client, 0 when it is taken."""
    with context.open_ioctx('rbd') as ioctx:
        try:
            ioctx.write_full('written-by-a-context', b'x')
        except rados.Error as error:
            return error.errno
    return 0


def test_each_gateway_serves_its_own_group_and_show_agrees_with_the_seats(mgr, seats_of):
    create_pair(mgr, 'serve')
    with Peer(mgr, 'serve', 'gw1') as one, Peer(mgr, 'serve', 'gw2') as two:
        agreed = seats_of('serve').wait_for(both_own, 20, 'both gateways active')
        shown = show(mgr, 'serve')
        assert words(shown, 'gw1') == ' 1: ACTIVE ,  2: STANDBY '
        assert words(shown, 'gw2') == ' 1: STANDBY ,  2: ACTIVE '
        assert shown['num-namespaces'] == 4 and shown['GW-epoch'] >= agreed.version.epoch
        wait_until(lambda: one.optimized == {1} and two.optimized == {2}, 5, 'the gateways to know')


def test_a_silent_gateway_is_suspected_outlived_fenced_and_replaced_and_gets_its_group_back(mgr, seats_of):
    create_pair(mgr, 'silent')
    seats = seats_of('silent')
    with Peer(mgr, 'silent', 'gw1') as one, Peer(mgr, 'silent', 'gw2'):
        seats.wait_for(both_own, 20, 'both gateways active')
        old, address = one.instance, one.address
        assert write_error(one.context) == 0
        one.silent = True
        suspect = seats.wait_for(lambda m: m.gateway('gw1').availability is Availability.SUSPECT, 10, 'suspicion')
        assert serving(suspect, 1) == 'gw1', 'suspicion alone takes nothing away'
        seats.wait_for(lambda m: m.gateway('gw1').availability is Availability.UNAVAILABLE, 15, 'the verdict')
        agreed = seats.wait_for(lambda m: serving(m, 1) == 'gw2', 15, 'gw2 serving both')
        fence = agreed.departure(old)
        assert fence.addresses == {address} and agreed.ana_group(1).osd_epoch >= fence.osd_epoch
        assert address in mgr.ceph('osd', 'blocklist', 'ls')
        assert write_error(one.context) == ESHUTDOWN
        assert words(show(mgr, 'silent'), 'gw2') == ' 1: ACTIVE ,  2: ACTIVE '
        one.begin_anew(mgr)
        agreed = seats.wait_for(both_own, 30, 'failback')
        assert agreed.gateway('gw1').instance.number > old.number


def test_a_target_crash_that_its_warden_reports_needs_no_suspicion(mgr, seats_of):
    create_pair(mgr, 'crash')
    seats = seats_of('crash')
    with Peer(mgr, 'crash', 'gw1') as one, Peer(mgr, 'crash', 'gw2'):
        seats.wait_for(both_own, 20, 'both gateways active')
        before = seats.agreed().version
        one.crash()
        agreed = seats.wait_for(lambda m: serving(m, 1) == 'gw2', 15, 'gw2 serving both')
        assert agreed.gateway('gw1').suspected_at < before
        assert agreed.ana_group(1).osd_epoch > 0


def test_a_leaving_gateway_hands_over_without_a_fence(mgr, seats_of):
    create_pair(mgr, 'leave')
    seats = seats_of('leave')
    with Peer(mgr, 'leave', 'gw1') as one, Peer(mgr, 'leave', 'gw2'):
        seats.wait_for(both_own, 20, 'both gateways active')
        one.leaving = True
        agreed = seats.wait_for(lambda m: serving(m, 1) == 'gw2', 15, 'gw2 serving both')
        assert agreed.ana_group(1).osd_epoch == 0
        assert one.address not in mgr.ceph('osd', 'blocklist', 'ls')


def test_an_operator_moves_an_ana_group_and_takes_a_gateway_out_of_service_without_a_fence(mgr, seats_of):
    create_pair(mgr, 'moves')
    seats = seats_of('moves')
    with Peer(mgr, 'moves', 'gw1') as one, Peer(mgr, 'moves', 'gw2') as two:
        seats.wait_for(both_own, 20, 'both gateways active')
        nvme_gw(mgr, 'failover', 'rbd', 'moves', '1')
        moved = seats.wait_for(lambda m: serving(m, 1) == 'gw2', 15, 'gw2 serving both')
        assert moved.ana_group(1).moved_to == two.instance
        nvme_gw(mgr, 'disable', 'gw2', 'rbd', 'moves')
        seats.wait_for(lambda m: serving(m, 1) == serving(m, 2) == 'gw1', 15, 'gw1 serving both')
        assert [row['admin state'] for row in show(mgr, 'moves')['Created Gateways:']] == ['ENABLED', 'DISABLED']
        with pytest.raises(CommandFailed, match="gateway 'gw2' is disabled: it can be given no ANA group"):
            nvme_gw(mgr, 'failover', 'rbd', 'moves', '1', 'gw2')
        nvme_gw(mgr, 'enable', 'gw2', 'rbd', 'moves')
        agreed = seats.wait_for(both_own, 30, 'failback')
        assert [g.osd_epoch for g in agreed.ana_groups] == [0, 0]
        assert [g.instance for g in agreed.gateways] == [one.instance, two.instance]


def test_after_mgr_fail_the_next_mgr_goes_on_from_the_same_map(mgr, seats_of):
    create_pair(mgr, 'fail')
    seats = seats_of('fail')
    with Peer(mgr, 'fail', 'gw1') as one, Peer(mgr, 'fail', 'gw2'):
        before = seats.wait_for(both_own, 20, 'both gateways active')
        instances = [g.instance for g in before.gateways]
        mgr.ceph('mgr', 'fail')
        one.crash()
        agreed = seats.wait_for(lambda m: m.version.ballot > before.version.ballot, 30, 'the next mgr')
        assert agreed.version.epoch > before.version.epoch
        agreed = seats.wait_for(lambda m: serving(m, 1) == 'gw2', 30, 'the crash handled by the next mgr')
        assert agreed.gateway('gw2').instance == instances[1], 'gw2 was not disturbed'
        assert serving(agreed, 2) == 'gw2'


def test_after_kill_of_the_mgr_io_goes_on_and_the_standby_takes_over(mgr, seats_of):
    create_pair(mgr, 'kill')
    seats = seats_of('kill')
    mgr.ceph('config', 'set', 'mon', 'mon_mgr_beacon_grace', '10')
    try:
        with Peer(mgr, 'kill', 'gw1') as one, Peer(mgr, 'kill', 'gw2') as two:
            before = seats.wait_for(both_own, 20, 'both gateways active')
            killed = mgr.daemons[f'mgr.{mgr.active_mgr()}']
            killed.kill()
            after = seats.wait_for(lambda m: m.version.ballot > before.version.ballot, 60, 'the standby')
            assert both_own(after) and [g.instance for g in after.gateways] == [one.instance, two.instance]
            killed.restart()
            one.silent = True
            seats.wait_for(lambda m: serving(m, 1) == 'gw2', 30, 'a failover by the new mgr')
    finally:
        mgr.ceph('config', 'rm', 'mon', 'mon_mgr_beacon_grace')
        wait_until(lambda: mgr.mgrs_up(), 60, 'both mgrs up')


def test_a_second_machine_with_the_id_of_a_living_gateway_is_told_so_and_the_first_is_not_disturbed(mgr, seats_of):
    create_pair(mgr, 'twice')
    seats = seats_of('twice')
    with Peer(mgr, 'twice', 'gw1') as one, Peer(mgr, 'twice', 'gw2'):
        before = seats.wait_for(both_own, 20, 'both gateways active')
        with Peer(mgr, 'twice', 'gw1') as impostor:
            def told() -> Optional[str]:
                return impostor.acks[-1].refused.get(str(impostor.instance)) if impostor.acks else None
            said = wait_until(told, 10, 'the refusal')
            assert f'in use by instance {one.instance}' in said
        agreed = seats.agreed()
        assert agreed.gateway('gw1') == before.gateway('gw1') and both_own(agreed)


@pytest.mark.parametrize('payload, said', [
    ('{"format": 1', 'not JSON'), ('{"format": 0}', 'format 0, this release understands 1 only'),
    ('{"format": 1, "gateway": 7}', 'beacon.gateway: expected a text, found 7'),
])
def test_a_beacon_that_cannot_be_used_is_answered_with_the_reason_and_changes_nothing(mgr, seats_of, payload, said):
    create_pair(mgr, 'malformed')
    seats = seats_of('malformed')
    seats.wait_for(lambda m: m.gateway('gw2'), 10, 'the group')
    peer = Peer(mgr, 'malformed', 'gw1')   # never sends a beacon of its own
    try:
        before = seats.agreed()

        def answered() -> bool:
            refused = wire.decode_ack(peer.notify(payload)).refused
            return said in refused.get(f'client.{peer._client.get_instance_id()}', '')
        wait_until(answered, 10, 'an ack that names the error')
        assert seats.agreed() == before
    finally:
        peer.context.shutdown()
        peer._client.shutdown()
