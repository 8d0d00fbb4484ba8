"""Hosts of a test's own on one machine, joined by a switch that can be told to lose packets.

A host is a network namespace with one address; the switch is a bridge in a namespace of its own. Nothing of it is
seen from outside: no address, no route and no rule of the machine changes. Whoever is to reach the hosts needs a host,
too (`Place.entered`, or `Place.prefix` before a command).

Promises: a cut takes effect for established connections at once and loses packets without a word, like a pulled
cable; `heal` ends every disturbance; `remove` leaves nothing behind, and ends what still runs on the hosts. What a run
left that was killed is removed when the next one begins. Not promised: latency; the kernels of small machines come
without netem, so a slow link is a narrow one (tbf), in which packets queue.

Needs root, iproute2, and nftables.
"""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Dict, Iterable, List, Set, Tuple

from .daemon import ProcessIdentity
from .place import NAMESPACES, Place

SUBNET = '198.18.77'   # of the range that RFC 2544 sets aside for tests of networks
PREFIX = 'nvmeof-ha'
SWITCH = 'switch'
BRIDGE, LINK = 'br0', 'eth0'
COMMAND_S = 20
QUEUE = ('burst', '16kb', 'latency', '400ms')   # of a narrow link: what waits for longer is lost

Link = Tuple[str, str]   # from host, to host


class NetworkError(RuntimeError):
    """The kernel or a tool refused; the text has its words."""


class Network:
    """The hosts of one run; a context manager that removes them at its end."""

    def __init__(self) -> None:
        """Raises NetworkError when namespaces cannot be made here."""
        remove_leftovers()
        me = ProcessIdentity.of(os.getpid())
        assert me
        self._stem = f'{PREFIX}.{me.pid}.{me.start_ticks}'
        self._hosts: Dict[str, Place] = {}
        self._lost: Set[Link] = set()
        self._lossy: Dict[str, int] = {}
        self._narrow: Set[str] = set()
        switch = self._name(SWITCH)
        try:
            _ip(f'netns add {switch}')
            _ip(f'link add {BRIDGE} type bridge', f'link set {BRIDGE} up', within=switch)
        except BaseException:
            self.remove()
            raise

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.remove()

    def host(self, name: str) -> Place:
        """The host of this name, made when it is asked for first."""
        if name not in self._hosts:
            self._add(name)
        return self._hosts[name]

    def _add(self, name: str) -> None:
        number = len(self._hosts) + 1
        if not name.replace('.', '').replace('-', '').isalnum() or name == SWITCH or number > 250:
            raise NetworkError(f'asked for host {name!r} (number {number}); possible are 250 hosts, named by letters, '
                               f'digits, dots and hyphens, except {SWITCH!r}')
        place = Place(f'{SUBNET}.{number}', self._name(name))
        switch, port = self._name(SWITCH), f'port{number}'
        _ip(f'netns add {place.namespace}')
        _ip('link set lo up', f'link add {LINK} type veth peer name {port} netns {switch}',
            f'addr add {place.address}/24 dev {LINK}', f'link set {LINK} up', within=place.namespace)
        _ip(f'link set {port} master {BRIDGE} up', within=switch)
        self._hosts[name] = place

    # -- disturbances ---------------------------------------------------------------------------------

    def cut(self, one: str, other: str, one_way: bool = False) -> None:
        """From now on nothing gets from host `one` to host `other`; nor back, unless `one_way`."""
        self._lost |= {(one, other)} if one_way else {(one, other), (other, one)}
        self._tell_switch()

    def cut_from(self, one: str, others: Iterable[str], one_way: bool = False) -> None:
        """`cut` for several at the same moment."""
        links = {(one, other) for other in others if other != one}
        self._lost |= links if one_way else links | {(other, one) for one, other in links}
        self._tell_switch()

    def isolate(self, name: str) -> None:
        """Cut it from every other host that there is now."""
        self.cut_from(name, self._hosts)

    def lossy(self, name: str, percent: int) -> None:
        """Each packet from or to this host is lost with this probability; 0: no more."""
        if not 0 <= percent <= 100:
            raise NetworkError(f'asked to lose {percent} % of the packets of {name}; possible are 0 to 100')
        self._lossy[name] = percent
        self._tell_switch()

    def narrow(self, name: str, kbit_s: int) -> None:
        """The link of this host carries so much each way; what does not fit waits, and is lost if that takes long."""
        number = list(self._hosts).index(name) + 1
        for namespace, link in ((self._hosts[name].namespace, LINK), (self._name(SWITCH), f'port{number}')):
            _run(['tc', '-n', namespace, 'qdisc', 'replace', 'dev', link, 'root', 'tbf', 'rate', f'{kbit_s}kbit',
                  *QUEUE])
        self._narrow.add(name)

    def heal(self) -> None:
        """Every link is whole again. What was lost meanwhile is sent again by TCP when it thinks fit: that may take as
        long again as the cut was."""
        self._lost.clear()
        self._lossy.clear()
        self._tell_switch()
        for name in self._narrow:
            number = list(self._hosts).index(name) + 1
            for namespace, link in ((self._hosts[name].namespace, LINK), (self._name(SWITCH), f'port{number}')):
                _run(['tc', '-n', namespace, 'qdisc', 'del', 'dev', link, 'root'])
        self._narrow.clear()

    def _tell_switch(self) -> None:
        rules = losses({(self._hosts[one].address, self._hosts[other].address) for one, other in self._lost},
                       {self._hosts[name].address: percent for name, percent in self._lossy.items()})
        _run(['ip', 'netns', 'exec', self._name(SWITCH), 'nft', '-f', '-'], rules)

    # -- the end --------------------------------------------------------------------------------------

    def remove(self) -> None:
        """Of everything; who runs on a host is killed."""
        _remove(f'{self._stem}.')
        self._hosts.clear()

    def _name(self, name: str) -> str:
        return f'{self._stem}.{name}'


def losses(cuts: Iterable[Link], lossy: Dict[str, int]) -> str:
    """The switch's rules, for nft: `cuts` by addresses, one way each; `lossy`: percent by address."""
    lines = [f'ip saddr {source} ip daddr {to} drop' for source, to in sorted(cuts)]
    for address, percent in sorted(lossy.items()):
        lines += [f'ip {end} {address} numgen random mod 100 < {percent} drop' for end in ('saddr', 'daddr')
                  if percent]
    # Deleted and made again in one transaction; the empty table before it, so that there is one to delete.
    return ('table bridge losses {}\ndelete table bridge losses\ntable bridge losses {\n'
            ' chain forward {\n  type filter hook forward priority 0; policy accept;\n'
            + ''.join(f'  {line}\n' for line in lines) + ' }\n}\n')


def remove_leftovers() -> List[str]:
    """The namespaces of runs whose process has ended, with what runs in them; returns their names."""
    removed = []
    if NAMESPACES.exists():
        for stem in {'.'.join(path.name.split('.')[:3]) for path in NAMESPACES.glob(f'{PREFIX}.*.*.*')}:
            _, pid, start_ticks = stem.split('.')
            owner = ProcessIdentity.of(int(pid))
            if owner is None or owner.start_ticks != int(start_ticks):
                removed += _remove(f'{stem}.')
    return removed


def _remove(stem: str) -> List[str]:
    names = [path.name for path in NAMESPACES.glob(f'{stem}*')]
    for name in names:
        for pid in _run(['ip', 'netns', 'pids', name]).split():
            process = ProcessIdentity.of(int(pid))
            # A test that removes its network while it is on one of its hosts would end itself.
            if process and process.pid != os.getpid():
                process.kill(signal.SIGKILL)
        _ip(f'netns delete {name}')
    return names


def _ip(*commands: str, within: str = '') -> None:
    argv = ['ip', *(['-n', within] if within else []), '-batch', '-']
    _run(argv, ''.join(f'{command}\n' for command in commands))


def _run(argv: List[str], text: str = '') -> str:
    try:
        done = subprocess.run(argv, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=COMMAND_S, check=False)
    except FileNotFoundError:
        raise NetworkError(f'there is no `{argv[0]}` here; vstart-scripts/setup.sh installs it') from None
    if done.returncode:
        raise NetworkError(f'`{" ".join(argv)}` ended with {done.returncode}: {done.stdout.strip()}\n{text}'
                           'Network namespaces need root and a kernel that has them')
    return done.stdout
