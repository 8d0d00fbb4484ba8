"""What one group's driver asks of RADOS, as data and as one interface; who carries it out is ``rados_ops.py``.

Promises: nothing here waits, and nothing here needs librados.  Every ``ended`` is called in the driver's turn: it
arrives as an item of the driver's queue.  An operation is never cancelled: one that was given up may still land, so
every write must be guarded or harmless.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Protocol, Tuple

Omap = Dict[str, bytes]
Ended = Callable[[int], None]
"""Gets 0 or a negative errno."""
OmapRead = Callable[[int, Omap], None]
"""Gets 0 or a negative errno, and what was read: nothing on an error."""
LongEnded = Callable[[Any], None]
"""Gets the result, or the exception in its place: a ``RadosFailed``, given and not raised."""
Place = Any
"""A pool, RADOS namespace and locator key: what ``GroupIo.open`` answered; only a ``GroupIo`` looks into it."""


class RadosFailed(RuntimeError):
    """What librados said about a call that has no errno of its own to give."""


class NoSuchPool(RadosFailed):
    """The pool that was to be opened does not exist."""


class Create(Enum):
    """EXCLUSIVE: -EEXIST when the object exists.  IDEMPOTENT: nothing happens then."""

    EXCLUSIVE = "exclusive"
    IDEMPOTENT = "idempotent"


class Relation(Enum):
    """Of what is stored to the guard's value."""

    LOWER = "lower"
    EQUAL = "equal"


@dataclass(frozen=True)
class Guard:
    """The write lands only while the omap value stored under ``key`` is LOWER than ``value`` (bytewise), or EQUAL to
    it; a key that is absent counts as empty.  Else -ECANCELED, and -ENOENT where there is no object."""

    key: str
    relation: Relation
    value: bytes


@dataclass(frozen=True)
class ObjectWrite:
    """One atomic write of one object: all of it or nothing.  Without ``create``, writing ``omap`` or ``data`` makes a
    missing object, unless a guard keeps it from that."""

    create: Optional[Create] = None
    guard: Optional[Guard] = None
    omap: Mapping[str, bytes] = field(default_factory=dict)
    data: Optional[bytes] = None


class AckSource(Protocol):
    """What a watch answers with."""

    def text(self) -> bytes: ...


class Watch(Protocol):
    """One object that is kept watched; ``problem`` says why it is not at present, or "" ."""

    problem: str

    def poll(self) -> None:
        """Called each tick: is it still watched, is another attempt due."""

    def stop(self) -> None:
        """The watch is given back, which is an operation under way until then."""


class GroupIo(Protocol):
    """RADOS, for one group's driver; nothing here waits for an OSD or a mon."""

    def open(self, pool: str, locator: str, ended: LongEnded) -> None:
        """A ``Place`` in the control objects' namespace, or ``NoSuchPool`` or another ``RadosFailed``.

        ``locator``: "" or the locator key of every object there.  May take long, or never end."""

    def wait_for_latest_osdmap(self, ended: LongEnded) -> None:
        """None once this client has the newest OSD map, or ``RadosFailed``.  May take long, or never end."""

    def write(self, place: Place, name: str, what: ObjectWrite, ended: Ended) -> None: ...

    def read_omap(self, place: Place, name: str, ended: OmapRead) -> None: ...

    def notify(self, place: Place, name: str, text: str, timeout_ms: int, ended: Ended) -> None:
        """``ended`` once every watcher has answered, or after the timeout; -ENOENT where there is no object."""

    def watch(self, seat: int, name: str, place: Place, ack: AckSource) -> Watch:
        """Keep the object watched.  Each notification is answered with ``ack.text()`` as of that moment, whatever the driver
        does then.  It arrives as ``(seat, notifier, data)``, a plain tuple, in the driver's queue, unless it is routine."""

    def routine(self) -> Iterator[Tuple[int, int, bytes]]:
        """What watches heard that need not wake the driver (``beacon_reader.is_routine``), once each."""


def describe(code: int) -> str:
    """The name of a negative errno."""
    return errno.errorcode.get(-code, str(code))
