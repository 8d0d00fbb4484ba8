"""What the status page is told, as it happens: server-sent events, each made once for all who listen.

Promises: a driver is never waited for nor locked, only the values that it publishes are read; with nobody listening
nothing is made; making takes at most a small share of the time, however many groups there are; at most
``MOST_STREAMS`` listen at once; ``close`` ends all streams.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Protocol, Set

from .pauses import Pause, Pauses, paced

MOST_STREAMS = 24
FRESH_S = 1.0
"""Ages and waiting times are told this often although nothing happened."""
QUIET_S = 5.0
"""A stream without news says that it still lives: else nobody would notice that its reader has gone."""
REST = 20
"""After making something, nothing is made for so many times as long as it took."""
RECONNECT_MS = 1000


class Source(Protocol):
    """What is shown.  Marks are compared with ``==``: while one stays the same, what it stands for is not made anew."""

    def status_mark(self) -> Any: ...
    def status(self, pause: Pause) -> Dict[str, Any]: ...
    def history_mark(self) -> Any: ...
    def history(self, pause: Pause) -> Dict[str, Any]: ...


class _Frame(NamedTuple):
    number: int
    text: bytes


def frame(event: str, text: str) -> bytes:
    """One event; JSON in ASCII holds no end of line."""
    return f"event: {event}\ndata: {text}\n\n".encode()


def as_json(value: Dict[str, Any], pause: Pause) -> str:
    """In ASCII.  What its lists have in them is encoded piece by piece: while the encoder runs, nothing else does."""
    def members() -> Iterator[str]:
        for name, member in value.items():
            if isinstance(member, list):
                yield f"{_json(name)}:[{','.join(_json(item) for item in paced(member, pause))}]"
            else:
                yield f"{_json(name)}:{_json(member)}"
    return "{" + ",".join(members()) + "}"


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


class Feed:
    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self._source, self._clock = source, clock
        self._news = threading.Condition()
        self._streams: Set["Stream"] = set()
        self._closed = False
        self._frames: Dict[str, _Frame] = {}
        self._marks: Dict[str, Any] = {}
        self._number = 0
        self._status_at = self._rest_until = 0.0
        self._making_answer = threading.Lock()
        self._answer, self._answer_at = b"", float("-inf")

    # -- the server's thread ------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Tell those who listen what is new."""
        began, pauses = self._clock(), Pauses()
        with self._news:
            if not self._streams:
                self._frames, self._marks = {}, {}  # else who comes next would first be told what was
                return
        if began < self._rest_until:
            return
        status_mark, history_mark = self._source.status_mark(), self._source.history_mark()
        if status_mark != self._marks.get("status") or began >= self._status_at + FRESH_S:
            self._status_at = began
            self._publish("status", status_mark, as_json(self._source.status(pauses), pauses))
        if "history" not in self._marks or history_mark != self._marks["history"]:
            self._publish("history", history_mark, as_json(self._source.history(pauses), pauses))
        self._rest_until = began + REST * (self._clock() - began - pauses.paused_s)

    def _publish(self, event: str, mark: Any, value: str) -> None:
        text = frame(event, value)
        with self._news:
            self._number += 1
            self._marks[event], self._frames[event] = mark, _Frame(self._number, text)
            self._news.notify_all()

    def open(self) -> None:
        with self._news:
            self._closed = False

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify_all()

    # -- the clients' threads -----------------------------------------------------------------------------------------

    def stream(self) -> Optional["Stream"]:
        """None: as many as may listen do."""
        with self._news:
            if self._closed or len(self._streams) >= MOST_STREAMS:
                return None
            stream = Stream(self)
            self._streams.add(stream)
            return stream

    def leave(self, stream: "Stream") -> None:
        with self._news:
            self._streams.discard(stream)

    def after(self, number: int) -> Optional[_Frame]:
        """All frames newer than ``number``, once there is one, as one; empty after ``QUIET_S``; None: it is closed."""
        with self._news:
            self._news.wait_for(lambda: self._closed or self._newer(number), QUIET_S)
            if self._closed:
                return None
            newer = self._newer(number)
            return _Frame(newer[-1].number, b"".join(f.text for f in newer)) if newer else _Frame(number, b"")

    def _newer(self, number: int) -> list:
        return sorted(f for f in self._frames.values() if f.number > number)

    def answer(self, pause: Pause) -> bytes:
        """Status and history as one JSON object, at most ``FRESH_S`` old."""
        with self._making_answer:
            now = self._clock()
            if now >= self._answer_at + FRESH_S:
                value = {**self._source.status(pause), "history": self._source.history(pause)["groups"]}
                self._answer, self._answer_at = as_json(value, pause).encode(), now
            return self._answer


class Stream:
    """The body of one client's answer; ``close`` is called by whoever serves it, also when the client has gone."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._number: Optional[int] = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._number is None:
            self._number = 0
            return b"retry: %d\n\n" % RECONNECT_MS
        found = self._feed.after(self._number)
        if found is None:
            raise StopIteration
        self._number = found.number
        return found.text or b": nothing new\n\n"

    def close(self) -> None:
        self._feed.leave(self)
