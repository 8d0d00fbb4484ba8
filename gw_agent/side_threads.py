"""The warden's calls that may block, each in a thread of its own: watching for wake-ups, and asking the mons.

Promises: the warden's loop never waits for them; both threads end with the process. A lost watch is made anew. Does
not promise that no wake-up is lost: the warden reads the seats each `beacon_s` anyway.
"""
from __future__ import annotations

import json
import logging
import threading
from typing import Callable, FrozenSet, Optional

import rados

from gw_agent import rados_watch

log = logging.getLogger(__name__)

CHECK_S = 1.0


class WakeWatch(threading.Thread):
    """Watches the object on which the mgr says that it committed; calls `woken` (from any thread) each time."""

    def __init__(self, ioctx: "rados.Ioctx", name: str, woken: Callable[[], None]) -> None:
        super().__init__(name="wake-watch", daemon=True)
        self._ioctx = ioctx
        self._name = name
        self._woken = woken
        self._watch: Optional[int] = None
        self._lost = threading.Event()
        self._said = ""

    def run(self) -> None:
        while True:
            self._ensure()
            self._lost.wait(CHECK_S)

    def _ensure(self) -> None:
        try:
            if self._watch is not None and not self._lost.is_set():
                rados_watch.check(self._watch)
                return
        except rados.Error as error:
            log.info("the watch for wake-ups on %s is lost (%s), watching anew", self._name, error)
        old, self._watch = self._watch, None
        self._lost.clear()
        try:
            if old is not None:
                rados_watch.end(old)
        except rados.Error:
            log.debug("the lost watch on %s had ended already", self._name)
        try:
            self._watch = rados_watch.begin(self._ioctx, self._name, self._on_notify, self._on_error)
            self._said = ""
            self._woken()
        except rados.Error as error:
            if self._said != str(error):
                self._said = str(error)
                log.info("no watch for wake-ups on %s yet (%s); changes are seen within one beacon period", self._name,
                         error)

    def _on_notify(self, notify_id: int, notifier_id: int, watch_id: int, data: bytes) -> None:
        self._woken()

    def _on_error(self, watch_id: int, *error: int) -> None:
        self._lost.set()


CONTACT = json.dumps({"prefix": "quorum_status", "format": "json"})
"""Answered by every mon that is there, also while there is no leader; so it tells a gateway that is cut off from one
whose placement groups stall: only the former ends its target."""
BLOCKLIST = json.dumps({"prefix": "osd blocklist ls"})
"""Answered by a quorum only. It tells a gateway that reaches the mons alone that it was fenced: the seats that say so
are out of its reach."""


class MonProbe(threading.Thread):
    """Asks the mons one question when told to; `answered` is called, from its own thread, with the answer if any."""

    def __init__(self, client: "rados.Rados", question: str, answered: Callable[[str], None]) -> None:
        super().__init__(name="mon-probe", daemon=True)
        self._client = client
        self._question = question
        self._answered = answered
        self._asked = threading.Event()

    def ask(self) -> None:
        """Returns at once; asking again while a question is unanswered changes nothing."""
        self._asked.set()

    def run(self) -> None:
        while True:
            self._asked.wait()
            try:
                code, answer, text = self._client.mon_command(self._question, b"")
                if code:
                    log.debug("the mons answered %s with %d: %s", self._question, code, text)
                self._answered("" if code else answer.decode(errors="replace"))
            except rados.Error as error:
                log.debug("no answer from the mons: %s", error)
            self._asked.clear()


def blocklisted(answer: str) -> FrozenSet[str]:
    """Addresses of the clients in the answer to `BLOCKLIST`: one a line, each with the time at which it ends."""
    return frozenset(line.split()[0] for line in answer.splitlines() if line.strip())
