"""Prometheus' text format, version 0.0.4: metric families and their samples to text.  Pure.

A writer of our own, because ``prometheus_client`` is no part of what ceph-mgr brings with it in any release.  Promises:
a family's samples stand together below its HELP and TYPE; labels and help are escaped; a histogram is cumulative and
ends with ``+Inf``; a family without samples is left out.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple

from .measures import Durations
from .pauses import Pause

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

BLOCK_BYTES = 1 << 15
"""Of a thousand gateways it is 4 MB.  In one piece, the C library kept 13 MB of it for each thread that ever answered."""

Labels = Mapping[str, Any]


class Family(NamedTuple):
    """``kind``: "gauge", "counter" or "histogram"."""

    name: str
    kind: str
    help: str


class Samples:
    """Collects samples, by family."""

    def __init__(self, pause: Pause) -> None:
        self._pause = pause
        self._blocks: Dict[Family, List[bytearray]] = {}

    def add(self, family: Family, labels: Labels, value: float) -> None:
        self._line(family, "", labels, value)

    def one_of(self, family: Family, labels: Labels, label: str, states: Any, present: str) -> None:
        """A sample for each state: 1 for the present one, 0 for the others."""
        for state in states:
            self.add(family, {**labels, label: state}, int(state == present))

    def durations(self, family: Family, labels: Labels, found: Durations) -> None:
        for bound, count in found.cumulative():
            self._line(family, "_bucket", {**labels, "le": bound}, count)
        self._line(family, "_sum", labels, found.sum_s)
        self._line(family, "_count", labels, found.count)

    def _line(self, family: Family, suffix: str, labels: Labels, value: float) -> None:
        inner = ",".join(f'{name}="{_escaped(str(text))}"' for name, text in labels.items())
        number = str(value) if isinstance(value, int) else repr(round(value, 6))
        line = f"{family.name}{suffix}{{{inner}}} {number}\n"
        blocks = self._blocks.setdefault(family, [_head(family)])
        if len(blocks[-1]) >= BLOCK_BYTES:
            blocks.append(bytearray())
        blocks[-1].extend(line.encode())
        self._pause()

    def blocks(self) -> List[bytes]:
        """The text, in pieces of little more than ``BLOCK_BYTES``."""
        return [bytes(block) for _, blocks in sorted(self._blocks.items()) for block in blocks]


def _head(family: Family) -> bytearray:
    text = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    return bytearray(f"# HELP {family.name} {text}\n# TYPE {family.name} {family.kind}\n".encode())


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
