"""One record of a gateway group's history: how an ANA group came from one gateway to another, or one was lost.  Pure.

Kept in the mon KV store in pages of ``PAGE`` records below ``history/<pool>/<group>/``, written over in turn, so that a
finished transition costs one small write and no removal.  Promises: a page that cannot be read costs its own records
only; a value stays far below the store's limit of 64 KiB.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Dict, Iterable, List, NamedTuple, Tuple

from .core.plain import Codecs, PlainError
from .tables import seconds, table

PAGE, PAGES = 10, 21
KEPT = PAGE * (PAGES - 1)
"""The newest 200: one page is always just being filled."""
RECORD_CHARACTERS = 5000
FORMAT = 1


class Kind(str, Enum):
    """FAILOVER: the holder was lost.  FAILBACK: to the owner, which is well again.  HANDOVER: any other planned move.
    START: nobody served it.  LOSS: a gateway was lost that served nothing, and is fenced all the same."""

    FAILOVER = "failover"
    FAILBACK = "failback"
    HANDOVER = "handover"
    START = "start"
    LOSS = "loss"


class Outcome(str, Enum):
    """ABANDONED: the holder could not drain and keeps it.  BROKEN_OFF: somebody was lost on the way, and a failover
    follows.  REMOVED: the ANA group ended with its owner."""

    DONE = "done"
    ABANDONED = "abandoned"
    BROKEN_OFF = "broken off"
    REMOVED = "removed"


class Mark(NamedTuple):
    """What happened, and how many seconds after the beginning.

    heard      the last beacon of the gateway that was lost
    noticed    the mgr suspects it, or is told that its process ended
    suspected  the suspicion is stored: from now on its lease is not extended
    departed   stored: its lease is certainly over, or its process ended
    fenced     all its addresses are on the blocklist
    draining   stored: the holder finishes its I/O
    drained    it has
    promoted   stored: the next gateway may become optimized
    declined   it could not
    confirmed  it is optimized
    """

    what: str
    at_s: float


class FenceNote(NamedTuple):
    instance: str
    addresses: Tuple[str, ...]
    osd_epoch: int


@dataclass(frozen=True)
class Transition:
    """``began``: seconds since 1970.  ``ana_group``: 0 for a LOSS.  ``source``, ``to``: instances, "" for nobody.
    ``inherited``: it was begun under another mgr, so that what is before the first mark is not known."""

    number: int
    kind: Kind
    ana_group: int
    began: float
    source: str = ""
    to: str = ""
    cause: str = ""
    outcome: Outcome = Outcome.DONE
    marks: Tuple[Mark, ...] = ()
    fences: Tuple[FenceNote, ...] = ()
    inherited: bool = False

    @property
    def took_s(self) -> float:
        return self.marks[-1].at_s if self.marks else 0.0

    @property
    def unplanned(self) -> bool:
        return self.kind in (Kind.FAILOVER, Kind.LOSS) or self.outcome in (Outcome.ABANDONED, Outcome.BROKEN_OFF)

    def sentence(self) -> str:
        """One line for the log and for ``status``."""
        of = f"ANA group {self.ana_group}" if self.ana_group else "a gateway"
        towards = "to" if self.source else "at"
        way = (f" from {self.source}" if self.source else "") + (f" {towards} {self.to}" if self.to else "")
        how = "" if self.outcome is Outcome.DONE else f" was {self.outcome.value}"
        begun = ", begun under another mgr" if self.inherited else ""
        return f"{self.kind.value} of {of}{way}{how} ({seconds(self.took_s)}{begun}): {self.cause}"


_CODEC = Codecs().of(Transition)


def page_of(number: int) -> int:
    return number // PAGE % PAGES


def encode_page(records: Iterable[Transition]) -> str:
    plain = [_CODEC.encode(_bounded(record)) for record in records]
    return json.dumps({"format": FORMAT, "records": plain}, separators=(",", ":"))


def _bounded(record: Transition) -> Transition:
    if len(json.dumps(_CODEC.encode(record))) <= RECORD_CHARACTERS:
        return record
    return replace(record, cause=record.cause[:500], marks=record.marks[:1] + record.marks[-20:],
                   fences=tuple(f._replace(addresses=()) for f in record.fences[:5]))


def decode_pages(pages: Iterable[str]) -> List[Transition]:
    """The newest ``KEPT`` records of these pages, oldest first."""
    found: List[Transition] = []
    for page in pages:
        try:
            value = json.loads(page)
            if isinstance(value, dict) and value.get("format") == FORMAT:
                found += [_CODEC.decode(plain) for plain in value["records"]]
        except (ValueError, KeyError, TypeError, PlainError):
            continue
    return sorted(found, key=lambda record: record.number)[-KEPT:]


# ---- for people and programs --------------------------------------------------------------------------------------

def shown(record: Transition) -> Dict[str, Any]:
    """The shape that ``history`` prints, kept as ``status``'s."""
    return {"number": record.number, "kind": record.kind.value, "anagrp_id": record.ana_group or None,
            "began": stamp(record.began), "from": record.source or None, "to": record.to or None,
            "cause": record.cause, "outcome": record.outcome.value, "took_s": record.took_s,
            "begun_under_another_mgr": record.inherited,
            "phases": [{"what": mark.what, "at_s": mark.at_s} for mark in record.marks],
            "fences": [{"instance": f.instance, "addresses": list(f.addresses), "osd_epoch": f.osd_epoch}
                       for f in record.fences]}


def rows(records: Iterable[Transition]) -> str:
    return table(("BEGAN", "WHAT", "ANA GROUP", "FROM", "TO", "TOOK", "PHASES", "CAUSE"), [
        (stamp(r.began), r.kind.value + ("" if r.outcome is Outcome.DONE else f" ({r.outcome.value})"),
         r.ana_group or "", r.source, r.to, seconds(r.took_s),
         _steps(r), r.cause) for r in records])


def _steps(record: Transition) -> str:
    """Each phase with the seconds that it took from the one before."""
    before = (record.marks[:1] + record.marks)[:-1]
    steps = [mark.what + (f" +{mark.at_s - last.at_s:.2f}" if number else "")
             for number, (last, mark) in enumerate(zip(before, record.marks))]
    return ", ".join((["..."] if record.inherited else []) + steps)


def stamp(at: float) -> str:
    """Universal time, as Ceph prints it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03d}Z"
