"""Watches whether the gateway's I/O path is stuck; what it finds goes out in the beacons, and the mgr moves the I/O.

Each `LOOK_S` it asks every context what it waits for, and, where something waits for long, tries the same with this
host's own client and asks the other gateways; `io_progress.py` judges, and says why. Promises: nothing here talks to
the target's JSON-RPC socket, and no beacon waits for it. What an answer costs a context's client (measured): 0.3 ms when
idle, 2.3 ms with 128 requests open, 52 ms with 1000; with none of them, or with many, it is asked more seldom.
"""
from __future__ import annotations

import asyncio
import logging
import math
from typing import Awaitable, Callable, Dict, Optional, Set, Tuple

import rados

from gw_agent.context_requests import NotTold, requests, socket_path
from gw_agent.io_progress import OWN, CutOff, IoProgress, Place, Verdict
from gw_agent.settings import Settings
from gw_agent.witness import Witnesses
from nvmeof_ha_core.model import Instance

log = logging.getLogger(__name__)

LOOK_S = 1.0
CONTEXTS_AT_ONCE = 4
"""So many contexts are asked together: this process wakes up once for them, which costs more than to ask (0.68 ms for each of 16
that are asked one by one, 0.30 four by four, 0.16 all together; measured). More would hold up I/O that hosts wait for."""
PAUSE_FACTOR = 20
"""A context that takes long to list its requests, because it has many, is asked again after so many times as long,"""
LONGEST_PAUSE_S = 2.0
"""but often enough for `io_progress.BREAK_S`; one that waits for nothing after this: a gateway may have dozens of them."""

Served = Callable[[], Tuple[Optional[Instance], Tuple[str, ...]]]


class StuckWatch:
    """Of one agent, for one target after the other. Call `run` once."""

    def __init__(self, settings: Settings, client: "rados.Rados", prompt: Callable[[Place], Awaitable[bool]],
                 seat_names: Callable[[], Tuple[str, ...]], served: Served, soon: Callable[[], None]) -> None:
        """`prompt`: whether this host's own client is served promptly at a place (`path_probe.py`). `served`: the
        instance whose target is attached, and the names of its contexts. `soon`: beacons should tell at once."""
        gateway = settings.gateway
        self._run_dir, self._stuck_s = gateway.run_dir, gateway.stuck_s
        self._served = served
        self._soon = soon
        self._prompt = prompt
        self._witnesses = Witnesses(client, settings.ceph.control_pool, gateway.name, seat_names, prompt,
                                    self._peer_answered)
        self._loop = asyncio.get_running_loop()
        self._instance: Optional[Instance] = None
        self._progress = IoProgress(self._stuck_s)
        self._cut_off = CutOff(self._stuck_s)
        self._judged: Optional[Instance] = None
        self._unserved: Set[Place] = set()
        self._list_at_s: Dict[str, float] = {}
        self._untold: Set[str] = set()
        self._why = ""

    async def run(self) -> None:
        """Never returns."""
        await asyncio.gather(self._witnesses.run(), self._look_on())

    def why(self, instance: Instance) -> str:
        """Why the I/O path of this instance is stuck; "" while it is not."""
        return self._why if instance == self._instance else ""

    def held_back(self, instance: Instance) -> bool:
        """A target that was started after its host was found cut off: it must not serve yet."""
        return bool(self._cut_off.places) and instance != self._judged

    async def _look_on(self) -> None:
        while True:
            instance, contexts = self._served()
            if instance is not None and instance != self._instance:
                self._begin(instance)
            turns = math.ceil(len(contexts) / CONTEXTS_AT_ONCE)
            await asyncio.gather(asyncio.sleep(LOOK_S), *(
                self._list(context, LOOK_S * (number % turns) / turns) for number, context in enumerate(contexts)))
            now = self._loop.time()
            places = dict.fromkeys((*self._progress.to_ask(now), *self._cut_off.places))
            self._unserved &= set(places)
            for place in places:
                asyncio.ensure_future(self._try(place, now))
            self._tell(self._progress.verdict(now))

    def _begin(self, instance: Instance) -> None:
        self._instance, self._progress, self._why = instance, IoProgress(self._stuck_s), ""
        self._list_at_s, self._untold = {}, set()
        if self.held_back(instance):
            log.warning("instance %s does not serve before this host's own client is served at %s again", instance,
                        ", ".join(place.name for place in self._cut_off.places))

    async def _list(self, context: str, delay_s: float) -> None:
        progress = self._progress
        await asyncio.sleep(delay_s)
        path, started_s = socket_path(self._run_dir, context), self._loop.time()
        if not path or started_s < self._list_at_s.get(context, 0.0) or self._served()[0] != self._instance:
            return
        try:
            waiting = await requests(path)
        except NotTold as error:
            if context not in self._untold:
                self._untold.add(context)
                log.info("what context %s waits for is not known, a stuck I/O path would not be noticed: %s", context,
                         error)
            return
        self._untold.discard(context)
        took_s = self._loop.time() - started_s
        self._list_at_s[context] = started_s + (min(PAUSE_FACTOR * took_s, LONGEST_PAUSE_S) if waiting else LONGEST_PAUSE_S)
        progress.listed(context, waiting, self._loop.time())

    async def _try(self, place: Place, asked_s: float) -> None:
        """Other gateways are asked only where this host's own client was not served just before."""
        progress = self._progress
        if place in self._unserved:
            self._witnesses.ask(place, asked_s)
        prompt = await self._prompt(place)
        (self._unserved.discard if prompt else self._unserved.add)(place)
        progress.answered(OWN, place, asked_s, prompt)
        self._cut_off.answered(place, asked_s, prompt)

    def _peer_answered(self, gateway: str, place: Place, asked_s: float, prompt: bool) -> None:
        self._progress.answered(gateway, place, asked_s, prompt)

    def _tell(self, verdict: Optional[Verdict]) -> None:
        why = "" if verdict is None else verdict.why
        if why == self._why:
            return
        self._why = why
        if verdict is None:
            log.info("the I/O path of %s is not stuck any more", self._instance)
        else:
            log.warning("the I/O path of %s is stuck: %s", self._instance, verdict.why)
            self._cut_off.judged(verdict)
            self._judged = self._instance
        self._soon()
