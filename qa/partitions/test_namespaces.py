"""The hosts that plays are made of: links that are cut, mended, lossy and narrow, and what is left of a killed run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Iterator, Tuple

import pytest

from testbed.namespaces import NAMESPACES, Network, NetworkError, losses, remove_leftovers
from testbed.place import Place
from testbed.waiting import wait_until

PORT = 4420
PATIENCE_S = 20.0
LOST_S = 0.6   # longer than TCP's first retransmissions take


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


def connected(one: Place, two: Place) -> Tuple[socket.socket, socket.socket]:
    with two.entered(), socket.create_server((two.address, PORT)) as listener:
        with one.entered():
            near = socket.create_connection((two.address, PORT), PATIENCE_S)
        far, _ = listener.accept()
    near.settimeout(PATIENCE_S)
    far.settimeout(PATIENCE_S)
    return near, far


def arrives(sender: socket.socket, receiver: socket.socket, within_s: float = LOST_S) -> bool:
    sender.sendall(b'x')
    receiver.settimeout(within_s)
    try:
        return receiver.recv(100) != b''
    except socket.timeout:
        return False


def outside() -> str:
    """The links, addresses, routes and rules of the machine itself."""
    return ''.join(subprocess.run(command.split(), stdout=subprocess.PIPE, text=True, check=True).stdout
                   for command in ('ip -o link', 'ip -o -4 addr', 'ip route', 'nft list ruleset'))


def test_a_cut_holds_for_a_connection_that_is_there_and_for_the_two_hosts_only(network):
    one, two, three = (network.host(name) for name in ('one', 'two', 'osd.3'))
    near, far = connected(one, two)
    other, beside = connected(three, two)
    assert arrives(near, far)
    network.cut('one', 'two')
    assert not arrives(near, far) and not arrives(far, near)
    assert arrives(other, beside) and arrives(beside, other)
    network.heal()
    assert arrives(near, far, PATIENCE_S)


def test_a_one_way_cut_lets_the_other_direction_through(network):
    near, far = connected(network.host('one'), network.host('two'))
    network.cut('one', 'two', one_way=True)
    assert arrives(far, near), 'what goes to one is not cut'
    assert not arrives(near, far)


def test_a_lossy_and_narrow_link_slows_down_and_loses_nothing_for_good(network):
    near, far = connected(network.host('one'), network.host('two'))
    network.lossy('one', 3)
    network.narrow('one', 2000)
    sent = os.urandom(200_000)   # 0.8 s at 2 Mbit/s
    began = time.monotonic()
    writer = threading.Thread(target=far.sendall, args=(sent,))
    writer.start()
    received = b''
    while len(received) < len(sent):
        received += near.recv(1 << 16)
    writer.join()
    assert received == sent and time.monotonic() - began > 0.5


def test_nothing_is_seen_outside_and_what_runs_on_a_host_ends_with_it():
    before = outside()
    with Network() as network:
        place = network.host('one')
        process = subprocess.Popen([*place.prefix, 'sleep', '1000'])
        assert outside() == before
        wait_until(lambda: 'sleep' in (NAMESPACES.parent.parent / f'proc/{process.pid}/cmdline').read_text(), 10,
                   'the process to be there')
    assert process.wait(10) == -signal.SIGKILL
    assert not (NAMESPACES / place.namespace).exists()


def test_what_a_killed_run_left_is_removed_by_the_next_and_what_a_living_one_has_is_not():
    code = ('import os; from testbed.namespaces import Network; network = Network(); network.host("one"); '
            'print(network.host("one").namespace, flush=True); os.kill(os.getpid(), 9)')
    with Network() as living:
        mine = living.host('one')
        killed = subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True, check=False,
                                env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))})
        left = killed.stdout.strip()
        assert (NAMESPACES / left).exists()
        assert left in remove_leftovers()
        assert not (NAMESPACES / left).exists() and (NAMESPACES / mine.namespace).exists()


def test_the_rules_of_the_switch_name_each_direction_and_no_loss_of_zero():
    rules = losses({('198.18.77.1', '198.18.77.2')}, {'198.18.77.3': 5, '198.18.77.4': 0})
    assert 'ip saddr 198.18.77.1 ip daddr 198.18.77.2 drop' in rules
    assert 'ip daddr 198.18.77.3 numgen random mod 100 < 5 drop' in rules
    assert '198.18.77.4' not in rules


@pytest.mark.parametrize('name', ['switch', 'a/b', ''])
def test_a_host_needs_a_usable_name(network, name):
    with pytest.raises(NetworkError, match='asked for host'):
        network.host(name)
