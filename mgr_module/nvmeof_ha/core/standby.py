"""When a standby mgr has the active one replaced (DESIGN 8).

``step(state, event, now) -> (state, actions)``, as ``machine.py``: no clock, no I/O.  The active mgr is failed

* when agents say that it leaves their beacons unanswered *and* a decision is overdue: a target is dead, a gateway is
  leaving, silent or suspected, or a phase that somebody has to end goes on;
* or when it has not answered this standby itself for ``SILENT_S``.

Promises: it is failed by its gid, the one that was heard before, so that a mgr which is active already in its place is
never hit; never while it answers this standby in that group, nor within ``GRACE_S`` of its first answer, nor when its
last ack said that it was stopped on purpose; never unless RADOS answers this standby too (its own notification came
back, two seats were read) and the mons were asked right before; at most once per ``interval_s``, whoever did it.  Time
in which this mgr itself did not run proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

from .model import Availability, Map, Phase
from .timing import Timing
from .wire import Ack, Sos

PING_S = 1.0
"""Period of this standby's own questions; while agents call it is ``beacon_s``."""
PATIENCE_S = 0.3
"""The active mgr answers within milliseconds; this much longer is waited after the first call of an agent."""
SILENT_S = 15.0
GRACE_S = 10.0
"""A mgr that just began is busy with its other modules."""
LATE_S = 1.0
"""A tick that is later than this: this mgr did not run."""
ECHO_S = 2.5
DRIVER_STUCK_S = 5.0
RETRY_S = 2.0
MONS_S = 10.0

NEVER = float("-inf")
UNDER_WAY = (Phase.FENCING, Phase.PROMOTING, Phase.DRAINING)


def is_answer(ack: Ack) -> bool:
    """False: the mgr's callback runs and its driver does not."""
    return ack.driver_age_s < DRIVER_STUCK_S


# -- events and actions -----------------------------------------------------------------------------------------------


class Watched(NamedTuple):
    """These groups are looked after from now on."""

    groups: Tuple[str, ...]


class Called(NamedTuple):
    """An agent of the group says that its beacons go unanswered."""

    group: str
    sos: Sos


class Echoed(NamedTuple):
    """This standby heard its own notification on the group's SOS object."""

    group: str


class Answered(NamedTuple):
    """A question on a seat object was answered by the active mgr."""

    group: str
    ack: Ack


class Unanswered(NamedTuple):
    """RADOS delivered a question, and nobody answered in time."""

    group: str


class SeatsRead(NamedTuple):
    """Two seats at least were read; ``found``: the map that they agree on."""

    group: str
    found: Optional[Map]


class MonsSaid(NamedTuple):
    """``active_gid``: in the mgr map ``map_epoch``; ``failed_ago_s``: since a standby last had a mgr failed, None:
    never."""

    active_gid: int
    map_epoch: int
    failed_ago_s: Optional[float]


class MonsSilent(NamedTuple):
    """A question to the mons, or the order to fail a mgr, was refused or not answered."""

    why: str


class IntervalSet(NamedTuple):
    interval_s: float


class Tick(NamedTuple):
    pass


Event = Union[Watched, Called, Echoed, Answered, Unanswered, SeatsRead, MonsSaid, MonsSilent, IntervalSet, Tick]


class Ask(NamedTuple):
    """Notify the group's SOS object, to hear oneself, and ask the active mgr: on one seat object, or on all."""

    group: str
    everywhere: bool


class ReadSeats(NamedTuple):
    group: str


class AskMons(NamedTuple):
    """Who is active, and when was a mgr failed last?  Answered by ``MonsSaid`` or ``MonsSilent``."""


class Fail(NamedTuple):
    """Have the mons fail this mgr, and note the time where every mgr finds it; on failure ``MonsSilent``."""

    gid: int
    why: str


class Say(NamedTuple):
    """For the log."""

    text: str


Action = Union[Ask, ReadSeats, AskMons, Fail, Say]


# -- state ------------------------------------------------------------------------------------------------------------


class Call(NamedTuple):
    at: float
    sos: Sos


@dataclass(frozen=True)
class Group:
    """``since``: the first call of an agent since the active mgr last answered here; None: all is well.
    ``stopping``: that answer said that the module was stopped on purpose."""

    calls: Mapping[str, Call] = field(default_factory=dict)
    since: Optional[float] = None
    stopping: bool = False
    ask_at: float = NEVER
    read_at: float = NEVER
    echoed: float = NEVER
    read: float = NEVER
    found: Optional[Map] = None

    @property
    def timing(self) -> Timing:
        return Timing() if self.found is None else self.found.timing


class Active(NamedTuple):
    """The latest mgr that anybody heard.  ``ballot``: the highest heard of it; later mgrs have higher ones (a later gid
    may be lower).  ``first``: when this standby learned of it."""

    gid: int
    ballot: int
    first: float


NOBODY = Active(0, 0, NEVER)


@dataclass(frozen=True)
class State:
    """``silent_since``, ``unanswered``: the first and the last question in a row that got no answer."""

    ticked: float
    interval_s: float
    groups: Mapping[str, Group] = field(default_factory=dict)
    active: Active = NOBODY
    silent_since: Optional[float] = None
    unanswered: float = NEVER
    asked_mons: Optional[float] = None
    retry_at: float = NEVER
    failed_at: float = NEVER
    failed_gid: int = 0
    said: str = ""


class Verdict(NamedTuple):
    """``why`` the mgr is to be failed, and what keeps this standby from it: "" nothing."""

    gid: int
    why: str
    obstacle: str


Result = Tuple[State, Tuple[Action, ...]]


def begin(interval_s: float, now: float) -> State:
    return State(now, interval_s)


def step(state: State, event: Event, now: float) -> Result:
    """``now``: monotonic seconds."""
    if isinstance(event, Tick):
        return _tick(state, now)
    if isinstance(event, IntervalSet):
        return replace(state, interval_s=event.interval_s), ()
    if isinstance(event, Watched):
        return replace(state, groups={name: state.groups.get(name, Group()) for name in event.groups}), ()
    if isinstance(event, MonsSaid):
        return _mons_said(state, event, now)
    if isinstance(event, MonsSilent):
        # What was noted of a failure may be wrong now; the mons know.
        state = replace(state, asked_mons=None, retry_at=now + RETRY_S, failed_at=NEVER, failed_gid=0)
        return _say(state, f"the mons are no help: {event.why}")
    group = state.groups.get(event.group)
    if group is None:
        return state, ()
    if isinstance(event, Called):
        return _called(state, event, group, now)
    if isinstance(event, Echoed):
        return _with(state, event.group, replace(group, echoed=now)), ()
    if isinstance(event, SeatsRead):
        return _with(state, event.group, replace(group, read=now, found=event.found or group.found)), ()
    if isinstance(event, Answered) and is_answer(event.ack):
        calm = _with(state, event.group, replace(group, calls={}, since=None, stopping=event.ack.stopping))
        return replace(_heard_of(calm, event.ack, now), silent_since=None), ()
    # Nobody answered, or only the callback of a mgr that hangs.  A gap in what RADOS delivers begins the count anew.
    since = state.silent_since if now - state.unanswered < 2 * PING_S + ECHO_S else None
    return replace(state, silent_since=now if since is None else since, unanswered=now), ()


def _with(state: State, name: str, group: Group) -> State:
    return replace(state, groups={**state.groups, name: group})


def _heard_of(state: State, said: Union[Ack, Sos], now: float) -> State:
    active, ballot = state.active, said.version.ballot
    if said.gid == active.gid and ballot >= active.ballot:
        return replace(state, active=active._replace(ballot=ballot))
    if said.gid and said.gid != active.gid and ballot > active.ballot:
        return replace(state, active=Active(said.gid, ballot, now))
    return state


def _say(state: State, text: str) -> Result:
    """Once, until something else is said."""
    return (state, ()) if text == state.said else (replace(state, said=text), (Say(text),))


def _called(state: State, event: Called, group: Group, now: float) -> Result:
    sos = event.sos
    group = replace(group, calls={**group.calls, sos.gateway: Call(now, sos)})
    actions: Tuple[Action, ...] = ()
    if group.since is None:
        group, actions = _asking(event.group, replace(group, since=now), now)
    return _heard_of(_with(state, event.group, group), sos, now), actions


def _asking(name: str, group: Group, now: float) -> Tuple[Group, Tuple[Action, ...]]:
    calling = group.since is not None
    group = replace(group, ask_at=now + (group.timing.beacon_s if calling else PING_S))
    if not calling or now < group.read_at:
        return group, (Ask(name, calling),)
    return replace(group, read_at=now + PING_S), (Ask(name, True), ReadSeats(name))


# -- time passes ------------------------------------------------------------------------------------------------------


def _tick(state: State, now: float) -> Result:
    late, state = now - state.ticked > LATE_S, replace(state, ticked=now)
    groups: Dict[str, Group] = {}
    actions: List[Action] = []
    for name, group in state.groups.items():
        fresh = {} if late else {gateway: call for gateway, call in group.calls.items()
                                 if now - call.at < group.timing.suspect_s}
        group = replace(group, calls=fresh, since=group.since if fresh else None)
        if now >= group.ask_at:
            group, asked = _asking(name, group, now)
            actions += asked
        groups[name] = group
    state = replace(state, groups=groups, silent_since=None if late else state.silent_since)
    if state.asked_mons is None or now - state.asked_mons >= MONS_S:
        state, judged = _judge(state, now)
        actions += judged
    return state, tuple(actions)


def _judge(state: State, now: float) -> Result:
    verdict = _verdict(state, now)
    if verdict is None:
        return replace(state, said=""), ()
    if verdict.obstacle:
        return _say(state, f"does not have mgr {verdict.gid} failed although {verdict.why}: {verdict.obstacle}")
    if now < state.retry_at:
        return state, ()
    return replace(state, asked_mons=now), (AskMons(),)


def _mons_said(state: State, event: MonsSaid, now: float) -> Result:
    state = replace(state, asked_mons=None)
    verdict = _verdict(state, now)
    if verdict is None or verdict.obstacle:
        return state, ()
    if event.active_gid != verdict.gid:
        # The calls were forged, or of agents that did not hear its successor yet.
        state = replace(state, retry_at=now + RETRY_S, active=Active(event.active_gid, event.map_epoch, now))
        return _say(state, f"does not have mgr {verdict.gid} failed "
                    f"although {verdict.why}: the mons name mgr {event.active_gid} as the active one")
    if event.failed_ago_s is not None and abs(event.failed_ago_s) < state.interval_s:
        return replace(state, failed_at=now - abs(event.failed_ago_s)), ()
    text = f"has mgr {verdict.gid} failed: {verdict.why}, and it does not answer"
    return (replace(state, said=text, retry_at=now + RETRY_S, failed_at=now, failed_gid=verdict.gid),
            (Fail(verdict.gid, verdict.why), Say(text)))


def _verdict(state: State, now: float) -> Optional[Verdict]:
    """The first one that nothing keeps from being carried out, else the first one, None: nothing is overdue."""
    found = [verdict for verdict in (_of_group(state, name, group, now) for name, group in state.groups.items())
             if verdict is not None]
    silence = _of_silence(state, now)
    if silence is not None:
        found.append(silence)
    found = [verdict for verdict in found if verdict.gid != state.failed_gid]  # its successor is on its way
    return min(found, key=lambda verdict: bool(verdict.obstacle), default=None)


def _of_group(state: State, name: str, group: Group, now: float) -> Optional[Verdict]:
    gid = state.active.gid
    about_it = [call.sos for call in group.calls.values() if call.sos.gid == gid]
    if group.since is None or now - group.since < PATIENCE_S or not gid or not about_it:
        return None
    why = overdue(group, now)
    if not why:
        return None
    obstacle = _obstacle(state, group.stopping or any(sos.stopping for sos in about_it), now)
    if group.read < group.since:
        obstacle = "two seats could not be read, so RADOS may be what does not answer"
    elif max(group.since, now - ECHO_S) > group.echoed:
        obstacle = "RADOS does not bring this mgr's own notifications back"
    return Verdict(gid, f"in group {name} {why}", obstacle)


def _of_silence(state: State, now: float) -> Optional[Verdict]:
    if state.silent_since is None or now - state.silent_since < SILENT_S or not state.active.gid:
        return None
    obstacle = _obstacle(state, any(group.stopping for group in state.groups.values()), now)
    if now - state.unanswered > ECHO_S or all(now - group.echoed > ECHO_S for group in state.groups.values()):
        obstacle = "RADOS does not bring this mgr's own notifications back"
    return Verdict(state.active.gid, f"it has answered nothing for {SILENT_S:g} s", obstacle)


def _obstacle(state: State, stopping: bool, now: float) -> str:
    if stopping:
        return "it was stopped on purpose"
    if now - state.active.first < GRACE_S:
        return f"it was first heard of less than {GRACE_S:g} s ago"
    if now - state.failed_at < state.interval_s:
        return f"a mgr was failed less than {state.interval_s:g} s ago (standby_fail_interval_s)"
    return ""


def overdue(group: Group, now: float) -> str:
    """The decision that waits for a mgr while agents call, "" when there is none or the map is not known."""
    if group.found is None or group.since is None:
        return ""
    for gateway in group.found.gateways:
        call = group.calls.get(gateway.id)
        if call is not None and call.sos.target_dead:
            return f"the target of gateway {gateway.id} is dead"
        if call is not None and call.sos.leaving:
            return f"gateway {gateway.id} is leaving"
        if call is not None and call.sos.stuck:
            return f"the I/O of gateway {gateway.id} is stuck"
        if gateway.availability is Availability.SUSPECT:
            return f"gateway {gateway.id} is suspected"
        silent_s = now - group.since if call is None else 0.0
        if gateway.availability is Availability.AVAILABLE and silent_s >= group.timing.suspect_s:
            return f"gateway {gateway.id} is silent"
    for ana_group in group.found.ana_groups:
        if ana_group.phase in UNDER_WAY:
            return f"ANA group {ana_group.id} is {ana_group.phase.value}"
    return ""
