"""Is the I/O path of this gateway stuck, although everything else of it looks well? Pure: samples and `now` in,
verdict out.

What is looked at: the requests that each context (a RADOS client in the target) has sent to OSDs and has no answer
for. The target's own counters cannot tell: `bdev_get_iostat` and `nvmf_get_stats` count what was completed (and its
`pending_bdev_io` stays 0 while I/O hangs in Ceph), so a device that hangs looks like an idle one; and they do not name
the placement group that hangs, without which nobody else can be asked.

Whose fault is it? A cluster that stalls, as a whole or in one OSD, leaves requests unanswered too, and then moving I/O
would only add a failover to the stall. So silence alone proves nothing. The rule: a context is stuck when

1. an OSD has answered none of this context's requests for `QUIET_S` (as long as any is answered, it is slow, not
   stuck: a long queue that moves is no reason), and then
2. for `stuck_s` on end, without a break, another client (a witness) is answered promptly, about once a second, for the
   same: a write in the placement group of the oldest of these requests, and one that never applies (its guard fails)
   on that request's very object, while the context still gets no answer at all from that OSD.

Why that is enough. Both are served by the same OSDs, from the same objects and under the same conditions (placement
group active, object not missing, pool not full, replicas reachable), and the witness asked later. In a stalled cluster
the witness is not answered either, so the count never starts, however long the stall. When the cluster wakes, the
older request is answered first, or within moments; only a context that does not know yet that the OSD map changed may
take longer: it asks for a new map at the latest `ASK_FOR_MAP_S` plus one tick of librados (`CLIENT_TICK_S`) after it
sent the request, and `stuck_s` is at least that tick, so that it has asked before 1 and 2 are over. A request that was
sent anew counts as an answer: the client has done something about it.
(After a network that dropped packets for 10 s or more, TCP may keep one client waiting as long again while another is
served already: that one counts as stuck, and waits less when it is replaced.)

Who may be a witness. This host's own client: then the host's network is well and the context hangs. If that one gets
no answer either, the host may be cut off or the cluster may stall: only another gateway of the group can tell
(`witness.py`). It is also the one that would take over, so where no other gateway makes progress, moving would not
help. A host that was shown to be cut off serves again only when its own client makes progress again (`CutOff`).

Not noticed: a hang inside the target above its RADOS clients (without any request to an OSD), and one of the reactor,
which the warden notices. Not promised: anything while the context does not tell its requests.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import AbstractSet, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Tuple

QUIET_S = 2.0
"""Without an answer for so long, the witnesses are asked."""
CLIENT_TICK_S = 5.0
"""librados' `objecter_tick_interval`."""
ASK_FOR_MAP_S = 1.0
"""`objecter_timeout` of every context: how old a request is when the client asks the mons for a newer OSD map."""
PROMPT_S = 1.0
"""A witness that is answered later than this shows a slow cluster."""
BREAK_S = 2.5
"""Longer without a prompt answer, or between two looks, and the count begins anew: this process may have been stopped
itself."""
MOST_PLACES = 4
"""Asked about at a time: a stall of the cluster concerns every OSD, and one that is stuck is enough."""

OWN = ""
"""The witness that is this host's own client; others are called by their gateway's name."""


class Place(NamedTuple):
    """An object. `key`: its locator key, or "" where its name decides about its placement group."""

    pool_id: int
    namespace: str
    key: str
    name: str


class Request(NamedTuple):
    """One that waits for an answer, as the client lists it. `attempts`: how often it was sent."""

    tid: int
    attempts: int
    osd: int
    place: Place


class Verdict(NamedTuple):
    """`why` names context, OSD, object and witness."""

    context: str
    place: Place
    witness: str
    why: str


@dataclass
class Run:
    """Prompt answers without a break, by when each was asked for."""

    since_s: float
    last_s: float

    @property
    def length_s(self) -> float:
        return self.last_s - self.since_s


def run_on(run: Optional[Run], asked_s: float, prompt: bool) -> Optional[Run]:
    """The run after one more answer; None: none."""
    if not prompt:
        return None
    if run is None or asked_s - run.last_s > BREAK_S:
        return Run(asked_s, asked_s)
    return Run(run.since_s, asked_s)


@dataclass
class _Lane:
    """The requests of one context to one OSD, none of which was answered since `quiet_since_s`."""

    sent: FrozenSet[Tuple[int, int]]
    oldest: Request
    quiet_since_s: float
    runs: Dict[str, Run] = field(default_factory=dict)


class IoProgress:
    """Of one target. `now`, `asked_s`: the caller's monotonic seconds."""

    def __init__(self, stuck_s: float) -> None:
        self._stuck_s = stuck_s
        self._lanes: Dict[Tuple[str, int], _Lane] = {}
        self._listed_s: Dict[str, float] = {}
        self._stuck: Dict[str, Tuple[int, Verdict]] = {}

    def listed(self, context: str, requests: Sequence[Request], now: float) -> None:
        """All that this context waits for now."""
        gap = now - self._listed_s.get(context, now) > BREAK_S
        self._listed_s[context] = now
        lanes: Dict[int, List[Request]] = {}
        for request in requests:
            lanes.setdefault(request.osd, []).append(request)
        for key in [k for k in self._lanes if k[0] == context and k[1] not in lanes]:
            del self._lanes[key]
        for osd, waiting in lanes.items():
            sent = frozenset((r.tid, r.attempts) for r in waiting)
            lane = self._lanes.get((context, osd))
            if lane is None or gap or not lane.sent <= sent:
                self._lanes[context, osd] = _Lane(sent, min(waiting), now)
            else:
                lane.sent = sent
        self._acquit(context, {r.tid for r in requests})

    def _acquit(self, context: str, tids: AbstractSet[int]) -> None:
        """Only the end of the very request that was stuck shows that the context goes on: sending it anew does not."""
        if context in self._stuck and self._stuck[context][0] not in tids:
            del self._stuck[context]

    def to_ask(self, now: float) -> Tuple[Place, ...]:
        """Where witnesses should try."""
        quiet = sorted((lane.quiet_since_s, lane.oldest.place) for lane in self._lanes.values()
                       if now - lane.quiet_since_s >= QUIET_S)
        return tuple(dict.fromkeys(place for _, place in quiet))[:MOST_PLACES]

    def answered(self, witness: str, place: Place, asked_s: float, prompt: bool) -> None:
        """A witness was, or was not, answered promptly. What it asked before a lane fell silent proves nothing."""
        for lane in self._lanes.values():
            if lane.oldest.place == place and asked_s >= lane.quiet_since_s:
                run = run_on(lane.runs.get(witness), asked_s, prompt)
                if run is not None:
                    lane.runs[witness] = run
                else:
                    lane.runs.pop(witness, None)

    def verdict(self, now: float) -> Optional[Verdict]:
        """None: not stuck, or it cannot be told. Stays until the request that was stuck is over."""
        for (context, osd), lane in sorted(self._lanes.items()):
            witness = self._witness(lane, self._listed_s[context])
            if witness is not None and context not in self._stuck:
                self._stuck[context] = lane.oldest.tid, Verdict(
                    context, lane.oldest.place, witness,
                    f"context {context} got no answer from osd.{osd} for {now - lane.quiet_since_s:.0f} s (requests: "
                    f"{len(lane.sent)}, the oldest for object {lane.oldest.place.name}), while "
                    + (f"gateway {witness} is" if witness else "this host's other client is")
                    + " served promptly there")
        return next((verdict for _, (_, verdict) in sorted(self._stuck.items())), None)

    def _witness(self, lane: _Lane, listed_s: float) -> Optional[str]:
        """Whom the last listing proves right. The own client comes first, as "" sorts first."""
        for witness, run in sorted(lane.runs.items()):
            if run.length_s >= self._stuck_s and listed_s >= run.last_s:
                return witness
        return None


class CutOff:
    """Where this host's own client got no answer while another gateway's did; outlives the target.

    A new target on such a host would be no better, so it does not serve before the own client was answered promptly
    for `stuck_s` in all these places.
    """

    def __init__(self, stuck_s: float) -> None:
        self._stuck_s = stuck_s
        self._runs: Dict[Place, Optional[Run]] = {}

    @property
    def places(self) -> Tuple[Place, ...]:
        return tuple(self._runs)

    def judged(self, verdict: Verdict) -> None:
        if verdict.witness != OWN:
            self._runs.setdefault(verdict.place, None)

    def answered(self, place: Place, asked_s: float, prompt: bool) -> None:
        """By the own client."""
        if place not in self._runs:
            return
        run = self._runs[place] = run_on(self._runs[place], asked_s, prompt)
        if run is not None and run.length_s >= self._stuck_s:
            del self._runs[place]
