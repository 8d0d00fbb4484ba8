"""Does the cluster answer this gateway, and does it know it?  Asks, and changes nothing.

Promises: an answer within some tens of seconds also when mons or OSDs do not answer. Whether the user's caps suffice
for writing is found out by removing an object that does not exist.
"""
from __future__ import annotations

import secrets
import threading
from typing import Iterator, Optional

import rados
import rbd

from gw_agent import ceph_client
from gw_agent.boot_clock import boottime_s
from gw_agent.certificate_checks import refused
from gw_agent.host_checks import Values, warden_runs
from gw_agent.seat_reader import SeatReader
from gw_agent.settings import CephSettings, Problem
from gw_agent.side_threads import BLOCKLIST
from nvmeof_ha_core.model import Availability, Map
from nvmeof_ha_core.register import NOTHING_SEEN, View, judge, merge

OSD_TIMEOUT_S = 5
MAP_S = 5.0
ROUND_S = 0.5


def look(values: Values) -> Iterator[Problem]:
    """`values`: what could be read of the settings, by section and option."""
    gateway = values["gateway"]
    if (values["ceph"].keys() != CephSettings.__dataclass_fields__.keys()
            or not {"name", "group", "run_dir"} <= gateway.keys()):
        yield Problem("", "", "the cluster was not asked", "correct the options that it is asked with, and check again")
        return
    ceph = CephSettings(**values["ceph"])
    try:
        client = ceph_client.connect(ceph, {"rados_osd_op_timeout": str(OSD_TIMEOUT_S), "log_to_stderr": "false"})
    except ceph_client.CephRefused as error:
        yield refused("ceph", "id", error, "correct it")
        return
    except ceph_client.CephUnreachable as error:
        yield refused("ceph", "config_file", error, "correct it")
        return
    yield from _mons(client, ceph)
    problems = list(_pools(client, ceph))
    yield from problems
    if not problems:
        yield from _gateway_map(client, ceph, gateway["name"], gateway["group"], gateway["run_dir"])


def _lacks_caps(ceph: CephSettings, what: str) -> Problem:
    needed = ceph_client.caps_text(ceph).replace("get-or-create", "caps")
    return Problem("ceph", "id", f"client.{ceph.id} may not {what}", f"give it the caps that it needs: {needed}")


def _mons(client: "rados.Rados", ceph: CephSettings) -> Iterator[Problem]:
    try:
        code, _, text = client.mon_command(BLOCKLIST, b"")
    except rados.Error as error:
        yield Problem("ceph", "config_file", f"the mons did not answer a question ({error})",
                      "look at `ceph -s`: have they a quorum?")
        return
    if code:
        yield _lacks_caps(ceph, f"read the mons' blocklist ({text or code})")


def _pools(client: "rados.Rados", ceph: CephSettings) -> Iterator[Problem]:
    for option, pool in {"pool": ceph.pool, "control_pool": ceph.control_pool}.items():
        if option == "control_pool" and ceph.control_pool == ceph.pool:
            continue
        try:
            ioctx = ceph_client.open_pool(client, pool, option)
        except (ceph_client.CephRefused, ceph_client.CephUnreachable) as error:
            yield refused("ceph", option, error, "correct it")
            continue
        yield from _objects(ioctx, ceph, option, pool)


def _objects(ioctx: "rados.Ioctx", ceph: CephSettings, option: str, pool: str) -> Iterator[Problem]:
    for namespace in ("", ceph_client.CONTROL_NAMESPACE):
        ioctx.set_namespace(namespace)
        what = f"write in pool {pool}" + (f", RADOS namespace {namespace}" if namespace else "")
        try:
            ioctx.remove_object(f"nvmeof_ha.check.{secrets.token_hex(8)}")
        except rados.ObjectNotFound:
            continue
        except (rados.PermissionError, rados.PermissionDeniedError):
            yield _lacks_caps(ceph, what)
            return
        except rados.Error as error:
            yield Problem("ceph", option, f"cannot {what} ({error})", "look at `ceph health detail`")
            return
    if option == "pool":
        ioctx.set_namespace("")
        try:
            rbd.RBD().list(ioctx)
        except rbd.PermissionError:
            yield _lacks_caps(ceph, f"list the images of pool {pool}")
        except rbd.Error as error:
            yield Problem("ceph", option, f"the images of pool {pool} cannot be listed ({error})",
                          f"was it made for RBD? (`rbd pool init {pool}`)")


def _gateway_map(client: "rados.Rados", ceph: CephSettings, name: str, group: str, run_dir: str) -> Iterator[Problem]:
    create = f"ceph nvmeof-ha create {name} {ceph.pool} {group}"
    wake = threading.Event()
    reader = SeatReader(ceph_client.open_control(client, ceph), group, wake.set)
    gateway_map = _agreed(reader, wake)
    if gateway_map is None:
        trouble = reader.trouble or "no two seats of the gateway map gave the same map"
        yield Problem("gateway", "group", f"group {group}: {trouble}", f"for a new group do: {create}; else look at "
                      "`ceph health detail`: is module nvmeof_ha enabled?")
        return
    gateway = gateway_map.gateway(name)
    if gateway is None:
        known = ", ".join(g.id for g in gateway_map.gateways) or "nobody"
        yield Problem("gateway", "name", f"the gateway map of {ceph.pool}/{group} does not name {name}; it names: "
                      f"{known}",
                      f"do: {create}")
    elif gateway.deleting:
        yield Problem("gateway", "name", f"gateway {name} is being deleted", f"to keep it: {create}", warning=True)
    elif not gateway.enabled:
        yield Problem("gateway", "name", f"gateway {name} is disabled, so it serves nothing",
                      f"ceph nvmeof-ha enable {name} {ceph.pool} {group}", warning=True)
    elif gateway.availability is Availability.AVAILABLE and not warden_runs(run_dir):
        yield Problem("gateway", "name", f"gateway {name} serves as instance {gateway.instance}, and no warden runs "
                      "here",
                      "does another machine run with this gateway id? Give one of them an id of its own", warning=True)


def _agreed(reader: SeatReader, wake: threading.Event) -> Optional[Map]:
    """What two seats say alike, within `MAP_S`; nothing as soon as it is known where there are no seats."""
    view: View = NOTHING_SEEN
    until_s, unread = boottime_s() + MAP_S, reader.trouble
    while view.permits is None and boottime_s() < until_s and reader.trouble in ("", unread):
        reader.start_round(boottime_s())
        wake.wait(ROUND_S)
        wake.clear()
        for answered in reader.collect():
            view = merge(view, judge(answered.maps, view.version))
    return view.permits
