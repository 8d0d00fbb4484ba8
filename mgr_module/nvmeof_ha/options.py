"""Module options: their declarations, and what they say together.

A module cannot refuse ``ceph config set``.  So what breaks a rule is not taken: ``read`` says why, and what was in
force stays, also over a change of the mgr, because the timers in force are in the map.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Callable, List, Optional, Tuple

from .core.timing import Timing, TimingError

SHORTEST_BLOCKLIST_S = 600.0
STANDBY_FAIL_INTERVAL_S = 600.0
WEB_PORT = 9287

_TIMERS = {
    "beacon_s": "period of beacons and of the wardens' seat reads",
    "suspect_s": "silence after which a gateway is suspected; at least 3 * beacon_s",
    "lease_s": "how long a gateway may stay optimized without a seat read; at least 4 * beacon_s",
    "restrict_s": "time to make a target inaccessible or dead at lease end",
    "isolated_s": "a gateway that reaches neither seats nor mons this long after lease end kills its target",
    "frozen_s": "a target that leaves JSON-RPC unanswered for this long is killed",
    "drain_s": "how long a planned move may take to drain before it is abandoned",
    "promote_s": "how long a gateway may take to confirm a promotion before it is suspected",
    "failback_delay_s": "how long an owner must have been well before its ANA group returns to it",
}


@dataclass(frozen=True)
class Options:
    """``timing``: None while no usable timers were found since this mgr began: each group keeps those of its map.
    ``control_pool``: where new groups keep their seats; empty: in the group's own pool.  ``trace``: see ``trace.py``."""

    timing: Optional[Timing] = None
    failback_doubling: bool = True
    blocklist_expire_s: float = 86400.0
    control_pool: str = ""
    trace: bool = False


@dataclass(frozen=True)
class WebOptions:
    """``addr``: "" for all addresses of the host.  ``port``: 0 for any free one.  ``problem``: why they cannot be used,
    "" if they can."""

    enabled: bool = False
    addr: str = ""
    port: int = WEB_PORT
    problem: str = ""


def declarations() -> List[Any]:
    """``MODULE_OPTIONS`` of the module class; can be changed while it runs."""
    defaults = Timing()
    declared = [{"name": timer.name, "type": "float", "default": getattr(defaults, timer.name), "runtime": True,
                 "desc": f"{_TIMERS[timer.name]} (seconds)"} for timer in fields(Timing)]
    declared += [
        {"name": "failback_doubling", "type": "bool", "default": True, "runtime": True,
         "desc": "double failback_delay_s with every recent unplanned loss of the owner"},
        {"name": "blocklist_expire_s", "type": "float", "default": 86400.0, "runtime": True,
         "desc": "how long a fenced gateway instance stays blocklisted (seconds); longer than any pause of a process "
                 "or virtual machine that must be survived"},
        {"name": "control_pool", "type": "str", "default": "", "runtime": True,
         "desc": "pool for the control objects of groups created from now on; empty: the group's own pool"},
        {"name": "standby_enabled", "type": "bool", "default": True, "runtime": True,
         "desc": "have a standby mgr replace an active one that does not answer gateways, before the mons do"},
        {"name": "standby_fail_interval_s", "type": "float", "default": STANDBY_FAIL_INTERVAL_S, "runtime": True,
         "desc": "standbys have a mgr replaced at most once in this time (seconds)"},
        {"name": "trace", "type": "bool", "default": False, "runtime": True,
         "desc": "log every step of the state machine as a JSON line, at level info; about 4 MB an hour for each gateway"},
        {"name": "web_enabled", "type": "bool", "default": False, "runtime": True,
         "desc": "serve the read-only status page, without login or TLS; off by default, so that nobody has an open port "
                 "who did not ask for it"},
        {"name": "web_addr", "type": "str", "default": "", "runtime": True,
         "desc": "address at which the status page is served; empty: all addresses of the host"},
        {"name": "web_port", "type": "int", "default": WEB_PORT, "runtime": True,
         "desc": "port of the status page; 0: any free one (`ceph mgr services` tells which)"},
    ]
    return declared


def read(value_of: Callable[[str], Any], before: Options) -> Tuple[Options, str]:
    """The options as they are set now, and "" or why some of them keep their value of ``before``.

    The timers are taken together or not at all.
    """
    problems = []
    timing, expire_s = before.timing, before.blocklist_expire_s
    try:
        timing = Timing(**{timer.name: value_of(timer.name) for timer in fields(Timing)})
    except TimingError as error:
        in_force = "every group keeps the timers of its map" if timing is None else (
            "these stay in force: " + ", ".join(f"{name} {value:g}" for name, value in timing.to_dict().items()))
        problems.append(f"{error}; until it is corrected {in_force}")
    asked_s = value_of("blocklist_expire_s")
    if isinstance(asked_s, (int, float)) and asked_s >= SHORTEST_BLOCKLIST_S:
        expire_s = float(asked_s)
    else:
        problems.append(f"blocklist_expire_s = {asked_s!r}: must be at least {SHORTEST_BLOCKLIST_S:g} s, because a "
                        "gateway that was paused for longer could write again; until it is corrected "
                        f"{expire_s:g} s is in force")
    found = Options(timing, bool(value_of("failback_doubling")), expire_s, str(value_of("control_pool") or ""),
                    bool(value_of("trace")))
    return found, "; ".join(problems)


def standby_fail_interval_s(value_of: Callable[[str], Any]) -> float:
    """What a standby goes by; it has no health checks to complain in, so what cannot be used is as good as unset."""
    asked_s = value_of("standby_fail_interval_s")
    return float(asked_s) if isinstance(asked_s, (int, float)) and asked_s >= 0 else STANDBY_FAIL_INTERVAL_S


def web(value_of: Callable[[str], Any]) -> WebOptions:
    """What the status page is served by.  ``value_of``: for this mgr, so that each can have a port of its own."""
    addr, port = str(value_of("web_addr") or "").strip(), value_of("web_port")
    found = WebOptions(bool(value_of("web_enabled")), addr)
    if not isinstance(port, int) or not 0 <= port <= 65535:
        return replace(found, problem=f"web_port = {port!r}: must be 0 to 65535")
    return replace(found, port=port)
