"""The commands that only look: ``show``, ``status`` and their like.

Promises: nothing is changed; what cannot be found is ENOENT with what there is; a group that no driver looks after is
shown from the mons' copy of its map, with a text that says so.  ``show`` and ``listeners`` are the exception that their
tools need: a group that does not exist is shown as an empty one.
"""

from __future__ import annotations

import errno
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import fences, ok_to_stop, overview, show, transitions
from .commands import Groups, Result, again, no_such_group, running
from .core.model import Map
from .kv_records import GroupKey
from .mon import MonCommandError, parsed
from .overview import Past
from .reasons import Known
from .running_driver import RunningDriver

START_S = 3.0
"""Reading waits this long for a driver that is taking its group over."""

FORMATS = ("plain", "json", "json-pretty")


class Refused(Exception):
    """The command ends with this result."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.text)
        self.result = result


def handle(groups: Groups, verb: str, arguments: Dict[str, Any]) -> Result:
    """One command of ``VERBS``, as ceph-mgr parsed it."""
    if not groups.ready(START_S):
        return again("the nvmeof_ha module is still starting")
    try:
        return VERBS[verb](groups, arguments)
    except Refused as refused:
        return refused.result


# ---- the built-in command's shapes --------------------------------------------------------------------------------

def _show(groups: Groups, arguments: Dict[str, Any]) -> Result:
    key = GroupKey(arguments["pool"], arguments["group"])
    gateway_map, text = _map_or_none(groups, key)
    shown = show.group(key, gateway_map, groups.records.highest_copied_epoch(), _minutes())
    return Result(0, show.formatted(shown, arguments.get("format", "")), text)


def _show_all(groups: Groups, arguments: Dict[str, Any]) -> Result:
    """A list of what ``show`` prints, of every group that has gateways."""
    shown, texts = [], []
    for key in groups.records.groups():
        gateway_map, text = _map_or_none(groups, key)
        if gateway_map is not None and gateway_map.gateways:
            shown.append(show.group(key, gateway_map, 0, _minutes()))
            texts += [text] if text else []
    return Result(0, show.formatted(shown, arguments.get("format", "")), "; ".join(texts))


def _listeners(groups: Groups, arguments: Dict[str, Any]) -> Result:
    key = GroupKey(arguments["pool"], arguments["group"])
    gateway_map, text = _map_or_none(groups, key)
    shown = show.listeners(key, gateway_map, groups.records.highest_copied_epoch())
    return Result(0, show.formatted(shown, arguments.get("format", "")), text)


def _minutes() -> int:
    return int(time.time()) // 60


def _map_or_none(groups: Groups, key: GroupKey) -> Tuple[Optional[Map], str]:
    """None: there is no such group.  Raises ``Refused`` for one that has no map yet."""
    driver = groups.driver(key)
    if driver is None:
        return None, ""
    gateway_map, text = _map_to_show(groups, driver, key)
    if gateway_map is None:
        raise Refused(again(f"group {key} has no map yet: {driver.status.stopped or driver.status.waiting_for}"))
    return gateway_map, text


def _map_to_show(groups: Groups, driver: RunningDriver, key: GroupKey,
                 patience_s: float = START_S) -> Tuple[Optional[Map], str]:
    """The driver's committed map; while it has none the copy that the mons keep, and a text that says so."""
    if driver.status.committed is None:
        running(driver, patience_s)
    committed = driver.status.committed
    if committed is not None:
        lost = "most of its seats are lost; see `repair`" if driver.status.most_seats_lost else ""
        stopped = driver.status.stopped or lost
        return committed, f"group {key} is not looked after: {stopped}" if stopped else ""
    copy = groups.records.map_copy(key)
    if copy is None:
        return None, ""
    return copy, f"group {key} is not ready ({driver.status.waiting_for}); shown is the mons' copy, which may be old"


# ---- status -------------------------------------------------------------------------------------------------------

def _status(groups: Groups, arguments: Dict[str, Any]) -> Result:
    shown = _shown_groups(groups, arguments)
    return printed({"groups": shown}, lambda: overview.tables(shown), arguments)


def _ls(groups: Groups, arguments: Dict[str, Any]) -> Result:
    shown = [overview.summary(group) for group in _shown_groups(groups, arguments)]
    return printed({"groups": shown}, lambda: overview.summaries(shown), arguments)


def _shown_groups(groups: Groups, arguments: Dict[str, Any]) -> List[Dict[str, Any]]:
    shown = [overview_of(groups, key) for key in _asked_groups(groups, arguments)]
    if "group" not in arguments:
        return [g for g in shown if g["gateways"] or g["problem"]]  # all gateways of the others were deleted
    return shown


def overview_of(groups: Groups, key: GroupKey, patience_s: float = START_S) -> Dict[str, Any]:
    """One group in the shape of ``overview.py``.  ``patience_s``: so long a driver that is just starting is waited for."""
    driver = groups.driver(key)
    if driver is None:
        return overview.group(key, None, False, "no driver was begun for it")
    found, text = _map_to_show(groups, driver, key, patience_s)
    state = driver.state
    soft = state.soft if state is not None and driver.status.running else None
    known = None if found is None else Known(found, soft, time.monotonic())
    problem = text if found is not None else driver.status.stopped or driver.status.waiting_for
    past = Past(driver.history.records, time.time())
    return overview.group(key, known, driver.status.running, problem, past)


# ---- history and fences -----------------------------------------------------------------------------------------

def _history(groups: Groups, arguments: Dict[str, Any]) -> Result:
    found = [(key, driver.history.records) for key in _asked_groups(groups, arguments)
             for driver in [groups.driver(key)] if driver is not None]
    if "group" not in arguments:
        found = [(key, records) for key, records in found if records]
    value = {"groups": [{"pool": key.pool, "group": key.group, "records": [transitions.shown(r) for r in records]}
                        for key, records in found]}
    return printed(value, lambda: "\n".join(f"{key}\n{transitions.rows(records)}" for key, records in found)
                   or "nothing has happened yet\n", arguments)


def _fences(groups: Groups, arguments: Dict[str, Any]) -> Result:
    try:
        # `osd blocklist ls` prints a sentence behind its JSON
        listed = fences.blocklist(parsed(groups.mon.ask({"prefix": "osd dump", "format": "json"}), "osd dump"))
    except MonCommandError as error:
        return again(str(error))
    found = []
    for key in _asked_groups(groups, arguments):
        driver = groups.driver(key)
        if driver is not None:
            gateway_map, state = _map_to_show(groups, driver, key)[0], driver.state
            found.append((key, fences.of_group(gateway_map, state.soft if state is not None else None,
                                               driver.history.records, listed)))
    if "group" not in arguments:
        found = [(key, shown) for key, shown in found if shown]
    value = {"groups": [{"pool": key.pool, "group": key.group, "fences": shown} for key, shown in found]}
    return printed(value, lambda: "\n".join(f"{key}\n{fences.rows(shown)}" for key, shown in found if shown)
                   or "no instance of a gateway is fenced\n", arguments)


# ---- ok-to-stop ---------------------------------------------------------------------------------------------------

def _ok_to_stop(groups: Groups, arguments: Dict[str, Any]) -> Result:
    key, = _asked_groups(groups, arguments)
    driver = groups.driver(key)
    if driver is None or not running(driver, START_S) or driver.state is None:
        raise Refused(again(f"nobody looks after group {key} now"))
    state, asked = driver.state, arguments["ids"]
    found = state.committed or state.map
    unknown = [name for name in asked if found.gateway(name) is None]
    if unknown:
        there = ", ".join(g.id for g in found.gateways) or "none"
        return Result(-errno.ENOENT, "", f"gateway {unknown[0]!r} is not in {key}, where there are: {there}")
    outlook = ok_to_stop.outlook(Known(found, state.soft, time.monotonic()), frozenset(asked))
    why, names = ok_to_stop.reason(outlook), ", ".join(outlook["gateways"])
    return printed(outlook, lambda: "" if why else f"{names} may stop\n", arguments, -errno.EBUSY if why else 0,
                   f"{names} must not stop now: {why}" if why else "")


# ---- what all have in common --------------------------------------------------------------------------------------

def _asked_groups(groups: Groups, arguments: Dict[str, Any]) -> List[GroupKey]:
    """The groups of ``[<pool> [<group>]]``; all without arguments.  Raises ``Refused``."""
    found = groups.records.groups()
    pool, group = arguments.get("pool"), arguments.get("group")
    if pool is None:
        return found
    if group is not None:
        key = GroupKey(pool, group)
        if key not in found:
            raise Refused(no_such_group(groups, key, errno.ENOENT))
        return [key]
    of_pool = [key for key in found if key.pool == pool]
    if not of_pool:
        raise Refused(Result(-errno.ENOENT, "", f"pool {pool!r} has no gateway group; there are: "
                             f"{', '.join(map(str, found)) or 'none'}"))
    return of_pool


def printed(value: Any, plain: Callable[[], str], arguments: Dict[str, Any], code: int = 0, text: str = "") -> Result:
    """``value`` as JSON, or what ``plain`` makes of it, as ``--format`` asks; "plain" without it."""
    output_format = arguments.get("format") or FORMATS[0]
    if output_format not in FORMATS:
        return Result(-errno.EINVAL, "", f"there is no format {output_format!r} here: use one of {', '.join(FORMATS)}")
    return Result(code, plain() if output_format == FORMATS[0] else show.formatted(value, output_format), text)


VERBS: Dict[str, Callable[[Groups, Dict[str, Any]], Result]] = {
    "show": _show, "show-all": _show_all, "listeners": _listeners, "ls": _ls, "status": _status,
    "ok-to-stop": _ok_to_stop, "history": _history, "fences": _fences}
