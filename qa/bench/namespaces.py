"""Many namespaces on two gateways: adding and listing them, a change of all their ANA states, a gateway's restart."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from conformance.checker import MGR_LINE
from gw_agent.json_rpc import Decoder, encode
from gw_agent.pb import gateway_pb2 as pb
from nvmeof_ha import trace
from nvmeof_ha.core.events import BeaconReceived
from nvmeof_ha.core.plain import PlainError
from testbed.cluster import POOL
from testbed.gateway import GROUP, nvme_gw
from testbed.waiting import wait_until

from .two_gateways import TwoGateways

SUBSYSTEMS = 8
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
        listed = two.ask('list_namespaces', pb.list_namespaces_req(), 1)
        figures['list_s'] = time.monotonic() - begun_s
        assert len(listed.namespaces) == namespaces   # type: ignore[attr-defined]
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
        two.ask('create_subsystem', pb.create_subsystem_req(subsystem_nqn=nqn, max_namespaces=256, enable_ha=True,
                                                            no_group_append=True))
        for gateway in two.gateways:
            two.ask('create_listener', pb.create_listener_req(nqn=nqn, host_name=gateway.name, traddr=gateway.address,
                                                              trsvcid=gateway.listener_port))
    begun_s = time.monotonic()
    took_s = []
    for number, image in enumerate(images):
        sent_s = time.monotonic()
        two.ask('namespace_add', pb.namespace_add_req(
            rbd_pool_name=POOL, rbd_image_name=image, subsystem_nqn=NQN.format(number % SUBSYSTEMS), block_size=512,
            anagrpid=1 + number // SUBSYSTEMS % 2))
        took_s.append(time.monotonic() - sent_s)
    yield 'add_all_s', time.monotonic() - begun_s
    yield 'add_first_100_s', sum(took_s[:100])
    yield 'add_last_100_s', sum(took_s[-100:])
    added_s = time.monotonic()
    wait_until(lambda: _served(two, 1) == len(images), SERVES_S, 'the other gateway to have them all',
               interval_s=LOOK_S)
    yield 'last_one_at_the_other_gateway_s', time.monotonic() - added_s


def _served(two: TwoGateways, number: int) -> int:
    found = Target(two.gateways[number].rpc_socket).call('nvmf_get_subsystems')
    return sum(len(subsystem.get('namespaces', ())) for subsystem in found)


def _move(two: TwoGateways, ana_group: int, source: int, destination: int) -> float:
    """Seconds from the last look at which the source was optimized in every subsystem to the first at which the
    destination is."""
    targets = [Target(gateway.rpc_socket) for gateway in two.gateways]
    nvme_gw(two.cluster, 'failover', POOL, GROUP, str(ana_group), two.gateways[destination].name)
    seen_s = time.monotonic()

    def there() -> bool:
        nonlocal seen_s
        if _optimized(targets[source], ana_group) == SUBSYSTEMS:
            seen_s = time.monotonic()
        return _optimized(targets[destination], ana_group) == SUBSYSTEMS
    wait_until(there, SERVES_S, f'ANA group {ana_group} to move', interval_s=LOOK_S)
    return time.monotonic() - seen_s


def _optimized(target: Target, ana_group: int) -> int:
    """In how many subsystems."""
    calls: List[Tuple[str, Optional[Dict[str, str]]]] = [
        ('nvmf_subsystem_get_listeners', {'nqn': NQN.format(number)}) for number in range(SUBSYSTEMS)]
    return sum({'ana_group': ana_group, 'ana_state': 'optimized'} in listener['ana_states']
               for listeners in target.call_all(calls) for listener in listeners)


def _restart(two: TwoGateways) -> float:
    two.gateways[0].kill('target')
    killed_s = time.monotonic()

    def serves() -> bool:
        try:
            return _optimized(Target(two.gateways[0].rpc_socket), 1) == SUBSYSTEMS
        except (OSError, Unanswered):
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


class Unanswered(RuntimeError):
    """The target closed the connection, or answered with an error."""


class Target:
    """JSON-RPC of one target, blocking."""

    def __init__(self, path: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(30)
        self._connection.connect(str(path))
        self._decoder = Decoder()

    def call(self, method: str) -> List[dict]:
        return self.call_all([(method, None)])[0]

    def call_all(self, calls: Sequence[Tuple[str, Optional[Dict[str, str]]]]) -> List[List[dict]]:
        """In one write; the results in the order of the calls."""
        self._connection.sendall(b''.join(encode(number, method, params)
                                          for number, (method, params) in enumerate(calls)))
        answers: Dict[int, List[dict]] = {}
        while len(answers) < len(calls):
            data = self._connection.recv(1 << 20)
            if not data:
                raise Unanswered('the target closed the connection')
            for answer in self._decoder.feed(data):
                if 'result' not in answer:
                    raise Unanswered(json.dumps(answer))
                answers[answer['id']] = answer['result']
        return [answers[number] for number in range(len(calls))]
