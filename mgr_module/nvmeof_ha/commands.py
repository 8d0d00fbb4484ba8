"""The operator's commands: arguments to events, replies to (code, output, text).  Those that only look are in
``queries.py``.

Decides nothing about gateways.  Promises: an answer within ``ANSWER_S`` or EAGAIN with the reason; a refused command
has stored nothing; ``create`` of what exists and ``delete`` of what does not are silent successes.
"""

from __future__ import annotations

import errno
import time
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Protocol, Tuple

from .core.events import (ClearDisaster, Command, CreateGateway, DeleteGateway, DrainGateways, FenceGateway,
                          MoveAnaGroup, SetDisaster, SetEnabled, SetLocation)
from .core.model import MAX_GATEWAYS, ModelError, check_name
from .kv_records import GroupKey, Records
from .mon import MonCommandError, MonCommands, parsed
from .running_driver import RunningDriver

ANSWER_S = 10.0
DRAIN_S = 10.0
START_S = 6.0
LOOK_EVERY_S = 0.05


class Result(NamedTuple):
    """What ceph-mgr wants: 0 or a negative errno, standard output, status text."""

    code: int
    output: str = ""
    text: str = ""


class Groups(Protocol):
    """The module, as commands see it."""

    records: Records
    mon: MonCommands

    def ready(self, timeout_s: float) -> bool: ...
    def driver(self, key: GroupKey) -> Optional[RunningDriver]: ...
    def begin_group(self, key: GroupKey) -> RunningDriver: ...
    def forget_gateway(self, key: GroupKey, gateway_id: str) -> None: ...
    def repair_group(self, key: GroupKey) -> RunningDriver: ...
    def control_pool(self, key: GroupKey) -> str: ...


def declarations(prefixes: Iterable[str]) -> List[Dict[str, Any]]:
    """``COMMANDS`` of the module class: each command once under every prefix."""
    place = "name=pool,type=CephString name=group,type=CephString"
    some = "name=pool,type=CephString,req=false name=group,type=CephString,req=false"
    return [command for prefix in prefixes for command in (
        {"cmd": f"{prefix} create name=id,type=CephString {place}", "perm": "rw",
         "desc": "create an NVMe-oF gateway in a gateway group"},
        {"cmd": f"{prefix} delete name=id,type=CephString {place}", "perm": "rw",
         "desc": "delete an NVMe-oF gateway; what it serves is handed over first"},
        {"cmd": f"{prefix} enable name=id,type=CephString {place}", "perm": "rw",
         "desc": "let an NVMe-oF gateway serve again"},
        {"cmd": f"{prefix} disable name=id,type=CephString {place}", "perm": "rw",
         "desc": "take an NVMe-oF gateway out of service; what it serves is handed over first"},
        {"cmd": f"{prefix} drain {place} name=ids,type=CephString,n=N", "perm": "rw",
         "desc": "take gateways out of service for maintenance and wait until they serve nothing; `enable` undoes it"},
        {"cmd": f"{prefix} fence {place} name=id,type=CephString "
                "name=yes_i_really_mean_it,type=CephBool,req=false", "perm": "rw",
         "desc": "declare the present instance of a gateway dead: its addresses are put on the OSD blocklist at once, "
                 "without waiting for its lease. If its target still runs, it may still be optimized meanwhile: hosts "
                 "then get I/O errors there; writes that come after the fence are refused by the OSDs"},
        {"cmd": f"{prefix} repair {place} name=yes_i_really_mean_it,type=CephBool,req=false", "perm": "rw",
         "desc": "rebuild the map of a gateway group that lost two or three of its seat objects for good; whoever may "
                 "still write is fenced first, so every gateway ends and serves again"},
        {"cmd": f"{prefix} set-location name=id,type=CephString {place} name=location,type=CephString", "perm": "rw",
         "desc": "say at which site an NVMe-oF gateway is; '' for none"},
        {"cmd": f"{prefix} disaster-set {place} name=location,type=CephString", "perm": "rw",
         "desc": "a site is lost: gateways that come back there get nothing until disaster-clear"},
        {"cmd": f"{prefix} disaster-clear {place} name=location,type=CephString", "perm": "rw",
         "desc": "a lost site is well again: its ANA groups come home one by one"},
        {"cmd": f"{prefix} failover {place} name=anagrp_id,type=CephInt,range=1|{MAX_GATEWAYS} "
                "name=to,type=CephString,req=false", "perm": "rw",
         "desc": "hand an ANA group over to another gateway, where it stays while that one lives; to its owner: undo"},
        {"cmd": f"{prefix} show {place}", "perm": "r", "desc": "show the gateways of a gateway group"},
        {"cmd": f"{prefix} show-all", "perm": "r", "desc": "show the gateways of every gateway group"},
        {"cmd": f"{prefix} listeners {place}", "perm": "r",
         "desc": "show the listeners of the available gateways of a gateway group"},
        {"cmd": f"{prefix} ls {some}", "perm": "r", "desc": "one line for each gateway group"},
        {"cmd": f"{prefix} status {some}", "perm": "r",
         "desc": "gateways and ANA groups, where each is served, and why what is out of order is so"},
        {"cmd": f"{prefix} ok-to-stop {place} name=ids,type=CephString,n=N", "perm": "r",
         "desc": "would every ANA group still have a gateway that serves it if these gateways stopped"},
        {"cmd": f"{prefix} history {some}", "perm": "r",
         "desc": "failovers, failbacks and handovers: why, from where to where, and how long each part took"},
        {"cmd": f"{prefix} fences {some}", "perm": "r",
         "desc": "gateway instances that are on the OSD blocklist: why, and until when"},
    )]


def handle(groups: Groups, verb: str, arguments: Dict[str, Any]) -> Result:
    """A command that changes something, as ceph-mgr parsed it."""
    key = GroupKey(arguments["pool"], arguments["group"])
    try:
        if not groups.ready(START_S):
            return again("the nvmeof_ha module is still starting")
        if verb in ("create", "delete"):
            return (_create if verb == "create" else _delete)(groups, key, arguments["id"])
        if verb == "repair":
            return _repair(groups, key, bool(arguments.get("yes_i_really_mean_it")))
        if verb == "drain":
            return _drain(groups, key, tuple(arguments["ids"]))
        if verb == "fence" and not arguments.get("yes_i_really_mean_it"):
            return Result(-errno.EPERM, "", f"this fences the present instance of {arguments['id']!r} without waiting "
                          "for its lease: make sure that its target is down, for hosts get I/O errors there otherwise; "
                          "then add --yes-i-really-mean-it. `disable` hands over without errors")
        return _change(groups, key, verb, arguments)
    except MonCommandError as error:
        return again(str(error))


def again(reason: str) -> Result:
    return Result(-errno.EAGAIN, "", f"{reason}; try again in a moment")


def no_such_group(groups: Groups, key: GroupKey, code: int) -> Result:
    known = ", ".join(map(str, groups.records.groups())) or "none"
    return Result(-code, "", f"there is no gateway group {key}; there are: {known}")


# ---- create and delete --------------------------------------------------------------------------------------------

def _create(groups: Groups, key: GroupKey, gateway_id: str) -> Result:
    try:
        check_name("gateway id", gateway_id)
        check_name("group", key.group)
    except ModelError as error:
        return Result(-errno.EINVAL, "", str(error))
    refused = _check_pools(groups, key)
    if refused is not None:
        return refused
    driver = groups.driver(key) or groups.begin_group(key)
    return _ask(driver, key, lambda request_id: CreateGateway(request_id, gateway_id))


def _check_pools(groups: Groups, key: GroupKey) -> Optional[Result]:
    existing = parsed(groups.mon.ask({"prefix": "osd pool ls", "format": "json"}), "osd pool ls")
    if key.pool not in existing:
        return Result(-errno.ENOENT, "", f"pool {key.pool!r} does not exist; create it with `ceph osd pool create "
                      f"{key.pool}` and `rbd pool init {key.pool}`, or choose one of `ceph osd pool ls`")
    if "/" in key.pool:
        return Result(-errno.EINVAL, "", f"pool {key.pool!r} cannot be used: its name has a '/'; choose another pool")
    control_pool = groups.control_pool(key)
    if control_pool not in existing:
        return Result(-errno.ENOENT, "", f"pool {control_pool!r}, which the option mgr/nvmeof_ha/control_pool names, "
                      f"does not exist; create it with `ceph osd pool create {control_pool}`, or change the option")
    return None


def _delete(groups: Groups, key: GroupKey, gateway_id: str) -> Result:
    driver = groups.driver(key)
    if driver is None:
        return Result(0)
    if driver.status.pool_gone:
        existing = parsed(groups.mon.ask({"prefix": "osd pool ls", "format": "json"}), "osd pool ls")
        if groups.control_pool(key) not in existing:
            groups.forget_gateway(key, gateway_id)
            return Result(0)
    return _ask(driver, key, lambda request_id: DeleteGateway(request_id, gateway_id))


def _change(groups: Groups, key: GroupKey, verb: str, arguments: Dict[str, Any]) -> Result:
    """A command of ``_CHANGES``, in a group that exists."""
    driver = groups.driver(key)
    if driver is None:
        return no_such_group(groups, key, errno.EINVAL)
    return _ask(driver, key, lambda request_id: _CHANGES[verb](request_id, arguments))


_CHANGES: Dict[str, Callable[[int, Dict[str, Any]], Command]] = {
    "enable": lambda request_id, given: SetEnabled(request_id, given["id"], True),
    "disable": lambda request_id, given: SetEnabled(request_id, given["id"], False),
    "failover": lambda request_id, given: MoveAnaGroup(request_id, int(given["anagrp_id"]), given.get("to") or ""),
    "fence": lambda request_id, given: FenceGateway(request_id, given["id"]),
    "set-location": lambda request_id, given: SetLocation(request_id, given["id"], given["location"]),
    "disaster-set": lambda request_id, given: SetDisaster(request_id, given["location"]),
    "disaster-clear": lambda request_id, given: ClearDisaster(request_id, given["location"]),
}


def _repair(groups: Groups, key: GroupKey, confirmed: bool) -> Result:
    """Have the map rebuilt where most seats are lost; all else mends itself."""
    driver = groups.driver(key)
    if driver is None:
        return no_such_group(groups, key, errno.EINVAL)
    status = driver.status
    lost = "; ".join(status.seats_lost)
    if not status.most_seats_lost:
        if not running(driver, START_S):
            return again(f"group {key} has not lost its seats, but is not ready: {status.stopped or status.waiting_for}")
        return Result(0, "", f"group {key} needs no repair" + (f": {lost}, which is mended by itself" if lost else ""))
    found = f"group {key}: {lost}"
    if not confirmed:
        return Result(-errno.EPERM, "", f"{found}. If these objects can be restored, restore them. Else add "
                      "--yes-i-really-mean-it: the map is then rebuilt from the mons' copy, every gateway instance that "
                      "may still write is fenced after its lease, and each gateway serves again with a new one")
    driver = groups.repair_group(key)
    if not running(driver, ANSWER_S):
        return again(f"{found}: {driver.status.stopped or driver.status.waiting_for}")
    return Result(0, "", f"the map of group {key} is rebuilt; `status` says who serves")


def _drain(groups: Groups, key: GroupKey, gateway_ids: Tuple[str, ...]) -> Result:
    """Returns once the gateways serve nothing, or after ``DRAIN_S`` with what is left."""
    driver = groups.driver(key)
    if driver is None:
        return no_such_group(groups, key, errno.EINVAL)
    result = _ask(driver, key, lambda request_id: DrainGateways(request_id, gateway_ids))
    deadline = time.monotonic() + DRAIN_S
    left = _served(driver, gateway_ids)
    while result.code == 0 and left and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
        left = _served(driver, gateway_ids)
    if result.code or not left:
        return result
    return Result(-errno.ETIMEDOUT, "", f"disabled, but after {DRAIN_S:g} s {'; '.join(left)}; it goes on, `status` "
                  "says why; `enable` undoes it")


def _served(driver: RunningDriver, gateway_ids: Tuple[str, ...]) -> List[str]:
    """What these gateways still serve."""
    committed = driver.status.committed
    return [f"ANA group {group.id} is still {group.phase.value} at {group.server.gateway}"
            for group in (committed.ana_groups if committed else ())
            if group.server is not None and group.server.gateway in gateway_ids]


def _ask(driver: RunningDriver, key: GroupKey, make: Callable[[int], Command]) -> Result:
    if not running(driver, START_S):
        return again(f"group {key} is not ready: {driver.status.stopped or driver.status.waiting_for}")
    reply = driver.request(make, ANSWER_S)
    if reply is None:
        return again(f"group {key} did not answer within {ANSWER_S:g} s, and the command may still take effect: "
                      f"{driver.status.stopped or '; '.join(driver.status.problems) or 'it is busy'}")
    return Result(-reply.code, "", reply.text)


def running(driver: RunningDriver, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not driver.status.running and not driver.status.stopped and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
    return driver.status.running
