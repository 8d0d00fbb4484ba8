"""A RADOS client of the gateway host, with time-outs and errors that say what to do.

The user of a gateway needs `CAPS`: `profile rbd` lets it read the cluster maps and, in the pool, every RADOS namespace
(the seats and beacons are in one of their own); it may not blocklist others than clients of RBD images, and the gateway
never does. With a `control_pool` the same osd cap is needed for that pool too.
"""
from __future__ import annotations

import os
from typing import Dict

import rados

from gw_agent.settings import CephSettings

CAPS = {"mon": "profile rbd", "osd": "profile rbd pool={pool}"}
"""cephx caps of the user `client.nvmeof.<gateway>`; `{pool}` is the gateway group's pool."""

CONNECT_TIMEOUT_S = 5
MON_COMMAND_TIMEOUT_S = 5
CONTROL_NAMESPACE = "nvmeof_ha"
"""RADOS namespace of the seats and what belongs to them, in `control_pool`."""


class CephUnreachable(Exception):
    """The mons gave no answer; trying again later may help."""


class CephRefused(Exception):
    """Trying again will not help: a file, a key or a pool is missing or wrong."""


def caps_text(ceph: CephSettings) -> str:
    """The command that makes this gateway's user with the caps it needs."""
    pools = sorted({ceph.pool, ceph.control_pool})
    osd = ", ".join(CAPS["osd"].format(pool=pool) for pool in pools)
    return f"ceph auth get-or-create client.{ceph.id} mon '{CAPS['mon']}' osd '{osd}'"


def connect(ceph: CephSettings, extra_conf: Dict[str, str]) -> "rados.Rados":
    """A connected client; blocks for at most `CONNECT_TIMEOUT_S` or so. Raises CephUnreachable, CephRefused."""
    if not os.path.exists(ceph.config_file):
        raise CephRefused(f"there is no {ceph.config_file}; copy the cluster's ceph.conf there, or correct the option "
                          "config_file in section [ceph]")
    if ceph.keyring and not os.path.exists(ceph.keyring):
        raise CephRefused(f"there is no keyring {ceph.keyring}; make it with: {caps_text(ceph)} -o {ceph.keyring}")
    conf = {"client_mount_timeout": str(CONNECT_TIMEOUT_S), "rados_mon_op_timeout": str(MON_COMMAND_TIMEOUT_S),
            "ms_async_op_threads": "1", "admin_socket": "", **extra_conf}
    if ceph.keyring:
        conf["keyring"] = ceph.keyring
    client = rados.Rados(name=f"client.{ceph.id}", conffile=ceph.config_file, conf=conf)
    try:
        client.connect()
    except (rados.PermissionError, rados.PermissionDeniedError) as error:
        client.shutdown()
        raise CephRefused(f"the mons refuse client.{ceph.id} ({error}): its key is not theirs, or it lacks caps; make "
                          f"the user and its keyring with: {caps_text(ceph)}") from None
    except (rados.ObjectNotFound, rados.InvalidArgumentError) as error:
        client.shutdown()
        raise CephRefused(f"no connection as client.{ceph.id} ({error}): {ceph.config_file} names no mons, or there "
                          f"is no key for this user; make it with: {caps_text(ceph)}") from None
    except rados.Error as error:
        client.shutdown()
        raise CephUnreachable(f"the mons named in {ceph.config_file} did not answer within {CONNECT_TIMEOUT_S} s "
                              f"({error}); are they up, and is their network reachable from here?") from None
    return client


def open_pool(client: "rados.Rados", pool: str, option: str) -> "rados.Ioctx":
    """An I/O context of a pool. Raises CephRefused (no such pool), CephUnreachable."""
    try:
        return client.open_ioctx(pool)
    except rados.ObjectNotFound:
        raise CephRefused(f"there is no pool '{pool}' in this cluster (`ceph osd pool ls` shows what there is); create "
                          f"it, or correct the option {option} in section [ceph]") from None
    except rados.Error as error:
        raise CephUnreachable(f"pool '{pool}' could not be looked up ({error}); look at `ceph health`") from None


def open_control(client: "rados.Rados", ceph: CephSettings) -> "rados.Ioctx":
    """An I/O context of the RADOS namespace with the seats. Raises as `open_pool`."""
    ioctx = open_pool(client, ceph.control_pool, "pool" if ceph.control_pool == ceph.pool else "control_pool")
    ioctx.set_namespace(CONTROL_NAMESPACE)
    return ioctx
