"""Free TCP ports on an address of this machine.

Ports are taken outside the range from which the kernel picks ports for outgoing connections, so that a
daemon that is killed and restarted later finds its port still free, and above the range in which Ceph's
OSDs and mgrs look for theirs (6800-7568). A port is only *likely* to stay free until its user binds it:
two callers at the same moment are kept apart by chance (12,000 to 1), not by a lock.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Container, List

LOWEST_PORT = 12000
EPHEMERAL_RANGE = Path('/proc/sys/net/ipv4/ip_local_port_range')


def free_ports(count: int, address: str = '127.0.0.1', but: Container[int] = ()) -> List[int]:
    """`count` different ports that nothing listens on at `address` now, and none of `but`.

    Raises OSError when there are not enough.
    """
    candidates = list(range(LOWEST_PORT, _first_ephemeral_port()))
    random.shuffle(candidates)
    found: List[int] = []
    for port in candidates:
        if port not in but and _is_free(address, port):
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f'asked for {count} free ports on {address} between {LOWEST_PORT} and '
                  f'{_first_ephemeral_port()}, found {len(found)}; stop what listens there')


def _first_ephemeral_port() -> int:
    first = int(EPHEMERAL_RANGE.read_text().split()[0])
    return first if first > LOWEST_PORT + 1000 else 65536


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
