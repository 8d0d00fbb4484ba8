"""The scenarios of the demo, in the order in which they are played: what is done, and what must be seen.

Everything is done to gw1, which owns ANA group 1; gw2 takes it over and gives it back. The last one moves a namespace.
"""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from typing import Any, Callable

import rados

from .cluster import ADMIN
from .map_changes import available
from .nvmeof_setup import GatewayApi
from .play import ANA_GROUP, OTHER, OWNER, Expectation, Play
from .stage import NQN

DOWN_S = 20.0


@dataclass(frozen=True)
class Scenario:
    """`act` is called when all is in order, and returns when what it has broken need not be mended any more."""

    name: str
    title: str
    act: Callable[[Play], None]
    expectation: Expectation = Expectation()


def target_crash(play: Play) -> None:
    play.event("SIGKILL of gw1's target", lambda: play.owner.kill('target'))
    play.wait_failover()
    play.close_first_part()
    play.wait_failback()


def host_loss(play: Play) -> None:
    play.event("SIGKILL of gw1's warden, agent and target", lambda: play.owner.kill('all'))
    play.wait_failover()
    play.wait_since_event(DOWN_S)
    play.close_first_part()
    play.note('gw1 is started again')
    play.owner.start()
    play.wait_failback()


def agent_crash(play: Play) -> None:
    before = play.owner.pids()
    instance = _instance(play)
    play.event("SIGKILL of gw1's agent", lambda: play.owner.kill('agent'))

    def restarted() -> bool:
        return play.owner.pids().get('agent', before['agent']) != before['agent']
    play.stage.wait(restarted, 60, "the warden to restart gw1's agent")
    # Had the control plane taken it for a dead gateway, the failover would have come by then.
    latest = play.stage.map_watch.latest
    assert latest
    play.wait_since_event(latest.timing.suspect_s + latest.lease_wait_s + 1)
    play.stage.wait(lambda: available(play.stage.map_watch.latest, OWNER), 60, 'gw1 to be AVAILABLE')
    play.require(play.owner.pids().get('target') == before['target'] and _instance(play) == instance,
                 "gw1's target to be the same process and instance as before the agent's crash")


def frozen_target(play: Play) -> None:
    play.event("SIGSTOP of gw1's target", lambda: play.owner.kill('target', signal.SIGSTOP))
    play.wait_failover()
    play.close_first_part()
    play.wait_failback()


def paused_host(play: Play) -> None:
    instance = _instance(play)
    paused = play.owner.pids()
    play.event("SIGSTOP of gw1's warden, agent and target", lambda: play.owner.kill('all', signal.SIGSTOP))
    play.wait_failover()
    play.wait_since_event(DOWN_S)
    play.require(_on_blocklist(play, instance), f'all addresses of {instance} to be on the OSD blocklist')
    play.note("SIGCONT of all three; the OSDs refuse what the old target still has to write: it is on the blocklist")
    play.owner.kill('all', signal.SIGCONT)
    play.stage.wait(lambda: play.owner.pids().get('target') != paused['target'], 30, "gw1's old target to be killed")
    play.close_first_part()
    play.wait_failback()


def orderly_stop(play: Play) -> None:
    play.event("SIGTERM to gw1's warden", lambda: play.owner.kill('warden', signal.SIGTERM))
    play.wait_failover()
    play.stage.wait(lambda: not play.owner.processes(), 30, 'all processes of gw1 to end')
    play.close_first_part()
    play.note('gw1 is started again')
    play.owner.start()
    play.wait_failback()


def mgr_failover(play: Play) -> None:
    cluster = play.stage.cluster
    dump = cluster.ceph_json('mgr', 'dump')
    # Over a connection that is there already: `ceph` starts so slowly that the next mgr would be up before the crash.
    with rados.Rados(name=ADMIN, conffile=str(cluster.conf)) as client:
        play.note(f'ceph mgr fail {dump["active_name"]}')
        command = {'prefix': 'mgr fail', 'who': dump['active_name']}
        code, _output, text = client.mon_command(json.dumps(command), b'', timeout=30)
        play.require(code == 0, f'the mons to take {command}; they said {text!r} ({code})')
        play.event("SIGKILL of gw1's target while no mgr is active", lambda: play.owner.kill('target'))
    play.wait_failover()
    play.close_first_part()
    play.wait_failback()
    now = cluster.ceph_json('mgr', 'dump')
    play.note(f'the active mgr is {now["active_name"]}')
    play.require(now['active_gid'] != dump['active_gid'], 'another mgr to be the active one')


def namespace_moved(play: Play) -> None:
    groups = play.stage.layout.ana_group_of
    nsid = next(nsid for nsid, group in groups.items() if group == ANA_GROUP)
    to = next(group for group in play.stage.layout.owners if group != ANA_GROUP)
    with GatewayApi(play.stage.gateways[OTHER]) as api:
        play.event(f'namespace {nsid} is moved to ANA group {to}', lambda: api.move_namespace(NQN, nsid, to))
        play.note('it is there')
        play.stage.wait_writing()
        play.note('it is moved back')
        api.move_namespace(NQN, nsid, ANA_GROUP)
        play.note('it is back')
        play.stage.wait_writing()


SCENARIOS = (
    Scenario('target-crash', "gw1's target is killed", target_crash),
    Scenario('host-loss', f'all of gw1 is killed, and started again after {DOWN_S:g} s', host_loss),
    Scenario('agent-crash', "gw1's agent is killed; nothing may move", agent_crash, Expectation(moves=False)),
    Scenario('frozen-target', "gw1's target is stopped (SIGSTOP)", frozen_target),
    Scenario('paused-host', f'all of gw1 is stopped (SIGSTOP) for {DOWN_S:g} s', paused_host,
             Expectation(tolerant=True)),
    Scenario('orderly-stop', 'gw1 is told to end (SIGTERM), and started again', orderly_stop),
    Scenario('mgr-failover', "`ceph mgr fail`, and gw1's target is killed meanwhile", mgr_failover),
    Scenario('namespace-moved', 'a namespace is moved to the other ANA group, and back; no ANA group may move',
             namespace_moved, Expectation(moves=False)),
)


def _instance(play: Play) -> Any:
    latest = play.stage.map_watch.latest
    gateway = latest.gateway(OWNER) if latest else None
    return gateway.instance if gateway else None


def _on_blocklist(play: Play, instance: Any) -> bool:
    latest = play.stage.map_watch.latest
    departure = latest.departure(instance) if latest else None
    if departure is None or not departure.addresses:
        return False
    listed = {line.split()[0] for line in play.stage.cluster.ceph('osd', 'blocklist', 'ls').splitlines() if line}
    return departure.addresses <= listed
