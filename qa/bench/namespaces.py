"""Many namespaces on two gateways: adding and listing them, a change of all their ANA states, a gateway's restart.

What adding costs is told in processor time too, for the first and the last hundred: that says whether an add costs more
the more there are, whatever else the machine does.
"""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Tuple

from conformance.checker import MGR_LINE
from gw_agent.pb import gateway_pb2 as pb
from nvmeof_ha import trace
from nvmeof_ha.core.events import BeaconReceived
from nvmeof_ha.core.plain import PlainError
from target_sim.target_process import RpcClient
from testbed.cluster import POOL
from testbed.gateway import GROUP, nvme_gw
from testbed.process_cost import cost
from testbed.waiting import wait_until

from .two_gateways import TwoGateways

SUBSYSTEMS = 8
HUNDRED = 100
MAX_NAMESPACES = 256
IMAGE_BYTES = 4 << 20
SERVES_S, LOOK_S = 300.0, 0.005
NQN = 'nqn.2016-06.io.spdk:bench{}'


def run(directory: Path, say: Callable[[str], None], namespaces: int = 1000) -> Dict[str, float]:
    """Figures by name, in seconds unless the name says otherwise."""
    with TwoGateways(directory, say) as two:
        figures: Dict[str, float] = {'namespaces': namespaces}
        say(f'making {namespaces} images')
        images = [f'image{number}' for number in range(namespaces)]
        two.make_images(images, IMAGE_BYTES)
        say(f'adding them to {SUBSYSTEMS} subsystems')
        figures.update(_add(two, images))
        begun_s = time.monotonic()
        listed = two.apis[1].ask('list_namespaces', pb.list_namespaces_req())
        figures['list_s'] = time.monotonic() - begun_s
        assert len(listed.namespaces) == namespaces
        say('moving an ANA group there and back')
        figures['move_away_without_a_path_s'] = _move(two, 1, 0, 1)
        figures['move_home_without_a_path_s'] = _move(two, 1, 1, 0)
        say('killing a target')
        figures['restart_until_serving_s'] = _restart(two)
    figures['longest_between_beacons_s'] = _longest_silence_s(directory, 'gw2')
    return figures


def _add(two: TwoGateways, images: List[str]) -> Iterator[Tuple[str, float]]:
    for number in range(SUBSYSTEMS):
        nqn = NQN.format(number)
        two.apis[0].create_subsystem(nqn, f'BENCH{number}', MAX_NAMESPACES)
        two.apis[0].create_listeners(nqn, two.gateways)
    begun_s = time.monotonic()
    took_s = []
    spent_s = [_processor_s(two)]
    for number, image in enumerate(images):
        sent_s = time.monotonic()
        two.apis[0].ask('namespace_add', pb.namespace_add_req(
            rbd_pool_name=POOL, rbd_image_name=image, subsystem_nqn=NQN.format(number % SUBSYSTEMS), block_size=512,
            anagrpid=1 + number // SUBSYSTEMS % 2))
        took_s.append(time.monotonic() - sent_s)
        if number + 1 in (HUNDRED, len(images) - HUNDRED, len(images)):
            spent_s.append(_processor_s(two))
    yield 'add_all_s', time.monotonic() - begun_s
    for which, took, before, after in (('first', took_s[:HUNDRED], spent_s[0], spent_s[1]),
                                       ('last', took_s[-HUNDRED:], spent_s[-2], spent_s[-1])):
        yield f'add_{which}_{HUNDRED}_s', sum(took)
        for process in before:
            yield f'add_{which}_{HUNDRED}_processor_{process}_s', after[process] - before[process]
    added_s = time.monotonic()
    wait_until(lambda: _served(two, 1) == len(images), SERVES_S, 'the other gateway to have them all',
               interval_s=LOOK_S)
    yield 'last_one_at_the_other_gateway_s', time.monotonic() - added_s


def _processor_s(two: TwoGateways) -> Dict[str, float]:
    """By process: what it has spent so far."""
    return {f'{kind}_{gateway.name}': cost(pid).cpu_s for gateway in two.gateways
            for kind, pid in gateway.pids().items() if kind != 'warden'}


def _served(two: TwoGateways, number: int) -> int:
    with closing(RpcClient(two.gateways[number].rpc_socket)) as target:
        found = target.call('nvmf_get_subsystems')
    return sum(len(subsystem.get('namespaces', ())) for subsystem in found)


def _move(two: TwoGateways, ana_group: int, source: int, destination: int) -> float:
    """Seconds from the last look at which the source was optimized in every subsystem to the first at which the
    destination is."""
    leaving, coming = (closing(RpcClient(two.gateways[number].rpc_socket)) for number in (source, destination))
    with leaving as old, coming as new:
        nvme_gw(two.cluster, 'failover', POOL, GROUP, str(ana_group), two.gateways[destination].name)
        seen_s = time.monotonic()

        def there() -> bool:
            nonlocal seen_s
            if _optimized(old, ana_group) == SUBSYSTEMS:
                seen_s = time.monotonic()
            return _optimized(new, ana_group) == SUBSYSTEMS
        wait_until(there, SERVES_S, f'ANA group {ana_group} to move', interval_s=LOOK_S)
        return time.monotonic() - seen_s


def _optimized(target: RpcClient, ana_group: int) -> int:
    """In how many subsystems."""
    asked = target.send_many([('nvmf_subsystem_get_listeners', {'nqn': NQN.format(n)}) for n in range(SUBSYSTEMS)])
    answers = [target.answer(number) for number in asked]
    return sum({'ana_group': ana_group, 'ana_state': 'optimized'} in listener['ana_states']
               for answer in answers for listener in answer.get('result', ()))


def _restart(two: TwoGateways) -> float:
    two.gateways[0].kill('target')
    killed_s = time.monotonic()

    def serves() -> bool:
        try:
            with closing(RpcClient(two.gateways[0].rpc_socket)) as target:
                return _optimized(target, 1) == SUBSYSTEMS
        except OSError:   # no target, or one that ends just now
            return False
    wait_until(serves, SERVES_S, 'the gateway to serve its ANA group again', interval_s=0.05)
    return time.monotonic() - killed_s


def _longest_silence_s(directory: Path, gateway: str) -> float:
    """Between two beacons of the gateway, as any mgr received them."""
    longest_s = 0.0
    for log in directory.glob('logs/*mgr*.log'):
        last_s = None
        for line in log.read_text(errors='replace').splitlines():
            found = MGR_LINE.match(line)
            try:
                step = trace.decode(found[3]) if found else None
            except PlainError:
                continue
            event = getattr(step, 'event', None)
            if isinstance(event, BeaconReceived) and event.beacon.gateway == gateway:
                longest_s = max(longest_s, step.now - (step.now if last_s is None else last_s))
                last_s = step.now
    return longest_s
